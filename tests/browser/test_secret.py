"""The book's animation in a browser, and the figures' colors on a dark background."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest

from samviz.figures import style
from samviz.figures.style import DARK, DARK_PAPER, WHITE_TEXT, recolour_js

from .pages import offline

ROOT = "document.querySelector('.secret')"
CURRENT = "[...document.querySelectorAll('.secret li')].map(li => li.getAttribute('aria-current'))"
BALL = "document.querySelector('[data-part=\"sam ball\"]').getAttribute('transform')"
STILL = {"reduced_motion": "reduce"}
Opener = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, secret: Any) -> Opener:
    """Return `opened(theme, **context)`: a page with the animation, where no error and no request may occur."""

    @contextmanager
    def open_page(theme: str = "auto", **options: Any) -> Iterator[Any]:
        with offline(browser, **({"viewport": {"width": 768, "height": 800}} | options)) as page:
            page.set_content(
                '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
                f'<style>body {{ margin: 16px }}</style><body data-theme="{theme}">{secret.secret()}</body>'
            )
            yield page

    return open_page


def seek(page: Any, seconds: float) -> None:
    """Show the animation at a time, paused."""
    page.evaluate(f"{ROOT}.seek({seconds})")


def check_still(page: Any) -> None:
    """Check that nothing moves and that the animation can be played."""
    before = page.evaluate(BALL)
    page.wait_for_timeout(300)
    assert page.evaluate(BALL) == before
    assert page.get_by_role("button").inner_text() == "▶ Play"


def test_the_animation_plays_and_pauses_by_keyboard(opened: Opener) -> None:
    with opened() as page:
        button = page.get_by_role("button")
        assert button.inner_text() == "❚❚ Pause"
        page.wait_for_function(f"{ROOT}.dataset.phase === '0'")
        assert page.evaluate(CURRENT) == ["step", None, None]
        seek(page, 16)
        check_still(page)
        before = page.evaluate(BALL)
        button.focus()
        page.keyboard.press("Space")
        assert button.inner_text() == "❚❚ Pause"
        page.wait_for_function(f"(before) => {BALL} !== before", arg=before)
        page.keyboard.press("Enter")
        assert button.inner_text() == "▶ Play"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_with_reduced_motion_it_shows_the_end_and_the_captions_follow_what_is_shown(opened: Opener) -> None:
    with opened(**STILL) as page:
        check_still(page)
        assert page.evaluate(CURRENT) == [None] * 3
        shown = []
        for seconds in (2, 10, 20):
            seek(page, seconds)
            texts = [page.locator(f'[data-part="{part}"]').text_content() for part in ("who", "cosine", "sharpness")]
            shown.append((page.evaluate(CURRENT).index("step"), *texts))
            assert page.locator('[data-part="sam line"]').is_visible() == (seconds > 2)
        (_, first, cosine, high), _, (_, last, aligned, low) = shown
        assert [number for number, *_ in shown] == [0, 1, 2]
        assert (first, last) == ("gradient descent", "SAM")
        assert float(cosine) < 0.1 < 0.9 < float(aligned)
        assert float(low) < 30 < 55 < float(high)


@pytest.mark.parametrize(
    ("theme", "system", "dark"),
    [("dark", "light", True), ("auto", "dark", True), ("auto", "light", False), ("light", "dark", False)],
)
def test_it_follows_the_theme(opened: Opener, theme: str, system: str, dark: bool) -> None:
    with opened(theme, color_scheme=system, **STILL) as page:
        look = page.evaluate(
            f"(look => [look.getPropertyValue('--ground').trim(), look.color])(getComputedStyle({ROOT}))"
        )
        ink = DARK[style.INK] if dark else style.INK
        assert look == [DARK_PAPER if dark else "#ffffff", "rgb({}, {}, {})".format(*bytes.fromhex(ink[1:]))]


def test_it_fits_the_page_and_its_text_fits_the_animation(opened: Opener) -> None:
    with opened(**STILL) as page:
        for width, seconds in product((390, 768, 1440), (2, 10, 29)):
            page.set_viewport_size({"width": width, "height": 800})
            seek(page, seconds)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            outside = page.evaluate("""() => {
                const svg = document.querySelector('.secret svg').getBoundingClientRect();
                return [...document.querySelectorAll('.secret svg text')].filter(text => {
                    const box = text.getBoundingClientRect();
                    return box.width && (box.left < svg.left - 1 || box.right > svg.right + 1);
                }).map(text => text.textContent);
            }""")
            assert outside == []


def test_a_figure_is_recoloured_without_a_copy_of_its_numbers(browser: Any) -> None:
    figure = {
        "y": [1, 2, None],
        "paper_bgcolor": "White",
        "name": "white noise",
        "line": {"color": "rgba(255, 255, 255, 0.7)", "width": 2},
        "textfont": {"color": ["white", style.BLUE.lower()], "shadow": style.HALO},
        "text": f'<span style="color:{style.VERMILION.upper()}">white</span>',
        "colorscale": style.BLUES,
    }
    page = browser.new_page()
    script = f"""(figure) => {{ {recolour_js()}
        const typed = new Float64Array([1, 2]), dark = recolour({{ ...figure, x: typed }});
        return [dark, [dark.x === typed, dark.y === figure.y, figure.paper_bgcolor]];
    }}"""
    dark, same = page.evaluate(script, figure)
    page.close()
    assert same == [True, True, "White"]
    assert dark["paper_bgcolor"] == DARK_PAPER
    assert dark["name"] == "white noise"
    assert dark["line"] == {"color": "rgba({},{},{},0.7)".format(*bytes.fromhex(DARK_PAPER[1:])), "width": 2}
    assert dark["textfont"]["color"] == [WHITE_TEXT, DARK[style.BLUE]]  # white text stands on dark cells
    assert dark["textfont"]["shadow"] == style.HALO.replace("white", DARK_PAPER)
    assert dark["text"] == f'<span style="color:{DARK[style.VERMILION]}">white</span>'
    assert dark["colorscale"] == [[at, DARK[color]] for at, color in style.BLUES]
