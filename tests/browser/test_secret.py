"""The book's moving picture in a browser: plays, pauses, stands still where motion is unwanted, and fits; and the
figures' colours on a dark ground, as the browser changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from samviz.figures import style
from samviz.figures.style import DARK, DARK_PAPER, WHITE_TEXT, recolour_js

from .pages import offline

PHASE = "document.querySelector('.secret').dataset.phase"
CURRENT = "[...document.querySelectorAll('.secret li')].map(li => li.getAttribute('aria-current'))"
BALL = "document.querySelector('[data-part=\"sam ball\"]').getAttribute('transform')"


@pytest.fixture(scope="module")
def html(secret: Any) -> str:
    return secret.secret()


Opener = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, html: str) -> Iterator[Opener]:
    """Give `opened(theme=…, **context)`: a page with the picture, in which nothing may go wrong or be fetched."""

    @contextmanager
    def open_page(theme: str = "auto", **more: Any) -> Iterator[Any]:
        with offline(browser, **({"viewport": {"width": 768, "height": 800}} | more)) as page:
            page.set_content(
                '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
                f'<style>body {{ margin: 16px }}</style><body data-theme="{theme}">{html}</body>'
            )
            yield page

    return open_page


def test_it_plays_pauses_and_goes_on(opened: Opener) -> None:
    with opened() as page:
        button = page.get_by_role("button")
        assert button.inner_text() == "❚❚ Pause"
        page.wait_for_function(f"{PHASE} === '0'")
        assert page.evaluate(CURRENT) == ["step", None, None]
        page.evaluate("document.querySelector('.secret').seek(16)")  # and pauses
        assert button.inner_text() == "▶ Play"
        still = page.evaluate(BALL)
        page.wait_for_timeout(300)
        assert page.evaluate(BALL) == still
        button.focus()
        page.keyboard.press("Space")
        assert button.inner_text() == "❚❚ Pause"
        page.wait_for_function(f"(still) => {BALL} !== still", arg=still)
        page.keyboard.press("Enter")
        assert button.inner_text() == "▶ Play"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_captions_follow_the_run(opened: Opener) -> None:
    with opened(reduced_motion="reduce") as page:
        shown = []
        for seconds in (2, 10, 20):
            page.evaluate(f"document.querySelector('.secret').seek({seconds})")
            numbers = [page.locator(f'[data-part="{part}"]').text_content() for part in ("who", "cosine", "sharpness")]
            shown.append((page.evaluate(CURRENT).index("step"), *numbers))
            assert page.locator('[data-part="sam line"]').is_visible() == (seconds > 2)
        (first, who, cosine, high), (second, *_), (third, sam, aligned, low) = shown
        assert (first, second, third) == (0, 1, 2)
        assert (who, sam) == ("gradient descent", "SAM")
        assert float(cosine) < 0.1 < 0.9 < float(aligned)
        assert float(low) < 30 < 55 < float(high)


def test_without_motion_it_stands_at_the_end_and_offers_to_play(opened: Opener) -> None:
    with opened(reduced_motion="reduce") as page:
        before = page.evaluate(BALL)
        page.wait_for_timeout(300)
        assert page.evaluate(BALL) == before
        assert page.get_by_role("button").inner_text() == "▶ Play"
        assert page.evaluate(CURRENT) == [None] * 3  # all three are told
        page.get_by_role("button").click()
        page.wait_for_function(f"{PHASE} === '0'")


def test_without_a_script_it_is_whole(opened: Opener) -> None:
    with opened(java_script_enabled=False) as page:
        assert page.locator(".secret li").count() == 3
        assert page.locator('[data-part="sam ball"]').is_visible()
        assert page.get_by_role("button").count() == 0  # it could do nothing


@pytest.mark.parametrize(
    ("theme", "system", "ground"),
    [
        ("dark", "light", DARK_PAPER),
        ("auto", "dark", DARK_PAPER),
        ("auto", "light", "#ffffff"),
        ("light", "dark", "#ffffff"),
    ],
)
def test_it_follows_the_theme(opened: Opener, theme: str, system: str, ground: str) -> None:
    with opened(theme, color_scheme=system, reduced_motion="reduce") as page:
        found = page.evaluate("getComputedStyle(document.querySelector('.secret')).getPropertyValue('--ground').trim()")
        assert found == ground
        colour = page.evaluate("getComputedStyle(document.querySelector('.secret')).color")
        ink = DARK[style.INK] if ground == DARK_PAPER else style.INK
        assert colour == "rgb({}, {}, {})".format(*bytes.fromhex(ink[1:]))


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_it_fits_and_its_words_do_not_leave_it(opened: Opener, width: int) -> None:
    with opened(viewport={"width": width, "height": 800}, reduced_motion="reduce") as page:
        for seconds in (2, 10, 29):
            page.evaluate(f"document.querySelector('.secret').seek({seconds})")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            out = page.evaluate("""() => {
                const room = document.querySelector('.secret svg').getBoundingClientRect();
                return [...document.querySelectorAll('.secret svg text')].filter(text => {
                    const box = text.getBoundingClientRect();
                    return box.width && (box.left < room.left - 1 || box.right > room.right + 1);
                }).map(text => text.textContent);
            }""")
            assert out == []


def test_a_figure_is_recoloured_and_its_numbers_are_not_copied(browser: Any) -> None:
    page = browser.new_page()
    made, same = page.evaluate(
        "(given) => {"
        + recolour_js()
        + """
        const typed = new Float64Array([1, 2]), tree = { ...given, x: typed };
        const made = recolour(tree);
        return [made, [made.x === typed, made.y === given.y, given.paper_bgcolor]];
    }""",
        {
            "y": [1, 2, None],
            "paper_bgcolor": "White",
            "name": "white noise",
            "line": {"color": "rgba(255, 255, 255, 0.7)", "width": 2},
            "textfont": {"color": ["white", style.BLUE.lower()], "shadow": style.HALO},
            "text": f'<span style="color:{style.VERMILION.upper()}">white</span>',
            "colorscale": style.BLUES,
        },
    )
    page.close()
    assert same == [True, True, "White"]
    assert made["paper_bgcolor"] == DARK_PAPER
    assert made["name"] == "white noise"
    assert made["line"] == {"color": "rgba({},{},{},0.7)".format(*bytes.fromhex(DARK_PAPER[1:])), "width": 2}
    assert made["textfont"]["color"] == [WHITE_TEXT, DARK[style.BLUE]]  # white words stand on dark cells
    assert made["textfont"]["shadow"] == style.HALO.replace("white", DARK_PAPER)
    assert made["text"] == f'<span style="color:{DARK[style.VERMILION]}">white</span>'
    assert made["colorscale"] == [[at, DARK[colour]] for at, colour in style.BLUES]
