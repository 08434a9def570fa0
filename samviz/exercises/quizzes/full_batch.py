"""Questions on the notebooks 00 to 04: three sharpnesses, alignment, two approximations, and the limiting flow."""

from __future__ import annotations

from samviz.exercises.quiz import Option, Question, Quiz

START = Quiz(
    "00_start_here",
    [
        Question(
            "Where does SAM take its gradient, and where does its step start?",
            "“Start here: SAM, live”",
            [
                Option("Both at x.", "That is gradient descent, which is SAM at ρ = 0."),
                Option("Both at x + ρ∇L/‖∇L‖.", "The perturbation is taken back: only its gradient is kept."),
                Option(
                    "The gradient at x + ρ∇L/‖∇L‖, the step at x.",
                    "It looks uphill and steps from where it is (Eq. 3).",
                    right=True,
                ),
            ],
        ),
        Question(
            "The loss is tiny already, and SAM goes on with ρ = 0.005. What happens?",
            "“Three things to try”",
            [
                Option(
                    "Nothing: the gradient is zero at a minimum.",
                    "SAM's gradient is taken at distance ρ from the minimum, and there it is not zero.",
                ),
                Option(
                    "The gradient turns along v₁, and λ₁ falls.",
                    "The angle is O(ρ), and each step lowers λ₁ by O(ηρ²) (Theorem 4.5).",
                    right=True,
                ),
                Option(
                    "The loss goes on to zero.",
                    "SAM bounces across the valley, so its loss stays a little above the least one.",
                ),
            ],
        ),
        Question(
            "SAM bounces on a quadratic. What does half of ρ do to the width of the bounce?",
            "“One theorem, predicted and measured”",
            [
                Option("It halves.", "ηρλ₁/(2 − ηλ₁) goes with ρ itself (Theorem 4.8).", right=True),
                Option(
                    "It falls to a quarter.", "ρ² sets how fast λ₁ falls along a valley, not how wide the bounce is."
                ),
                Option("It stays.", "At ρ = 0 there is no bounce at all: it is ρ that keeps it up."),
            ],
        ),
    ],
)

SHARPNESSES = Quiz(
    "01_three_sharpnesses",
    [
        Question(
            "Far up the side of a bowl, at a small ρ: how do the worst and the ascent direction compare?",
            "section 1",
            [
                Option("They are at right angles.", "That can be so beside the minimum, where only curvature counts."),
                Option(
                    "The worst one is v₁, the ascent one the gradient.",
                    "v₁ is the worst direction only where the slope counts for less than the curvature.",
                ),
                Option("They almost coincide.", "The slope decides, and both look up it (Eqs. 1 and 2).", right=True),
            ],
        ),
        Question(
            "A bowl in the plane keeps its λ₁, and its λ₂ is raised to λ₁. Which limits of R/ρ² stay?",
            "section 1",
            [
                Option(
                    "Only the worst direction's.",
                    "λ₁/2 stays; λ_M/2 and Tr/(2D) rise until all three are equal (Theorem 4.2).",
                    right=True,
                ),
                Option("All three.", "The ascent and the average notion see λ₂ as well."),
                Option("The worst and the ascent direction's.", "Here λ₂ is the λ_M that the ascent notion measures."),
            ],
        ),
        Question(
            "A minimum has the eigenvalues 2, 0.5 and 0. What is the limit of the ascent notion?",
            "section 2",
            [
                Option("0", "The gradient has no component along a flat floor: an eigenvalue of zero does not count."),
                Option("0.25", "λ_M/2, with the smallest eigenvalue that is not zero (Theorem 4.2).", right=True),
                Option("1", "That is λ₁/2, the limit for the worst direction."),
                Option("0.417", "That is Tr/(2D), the limit for the average direction."),
            ],
        ),
        Question(
            "At a minimum of gradient descent, what does one step of ascent get of the worst rise?",
            "section 4",
            [
                Option(
                    "Nearly all of it.",
                    "The gradient would have to lie along v₁. Gradient descent sees to the opposite.",
                ),
                Option(
                    "Nothing: ∇L = 0 there.",
                    "It is tiny, not zero, and divided by its norm: only its direction counts.",
                ),
                Option(
                    "Less than a hundredth.",
                    "The part of ∇L along v₁ has died, so it looks along flat directions: λ_M for λ₁ (Theorem 4.2).",
                    right=True,
                ),
            ],
        ),
    ],
)

ALIGNMENT = Quiz(
    "02_alignment",
    [
        Question(
            "Gradient descent with a small η, and SAM, on one quadratic. Where does x point after many steps?",
            "section 3",
            [
                Option("Along v₁ for both.", "Gradient descent shrinks the part along v₁ by 1 − ηλ₁: the most of all."),
                Option(
                    "Along v₁ for SAM, along the flattest eigenvector for gradient descent.",
                    "What dies first for the one is the only stable cycle of the other (Theorem 4.8).",
                    right=True,
                ),
                Option(
                    "The other way round.",
                    "Ask for each which part of x is multiplied by the smallest factor in every step.",
                ),
            ],
        ),
        Question(
            "λ₁ = 2. By how much does the amplitude of the cycle grow when η goes from 0.25 to 0.5?",
            "section 2",
            [
                Option("Not at all: only ρ counts.", "It is ρ times ηλ₁/(2 − ηλ₁)."),
                Option("Twofold.", "That is so for small η only: what stands below the line, 2 − ηλ₁, shrinks too."),
                Option("Threefold.", "From ρ/3 to ρ, by ηρλ₁/(2 − ηλ₁) (Theorem 4.8).", right=True),
            ],
        ),
        Question(
            "λ₂ is raised to 0.99 λ₁. What becomes of the alignment with v₁?",
            "section 3",
            [
                Option(
                    "It comes as well, but slowly.",
                    "The part along v₂ shrinks by a factor near −1, and at λ₂ = λ₁ not at all: "
                    "Theorem 4.8 asks for a unique top eigenvalue.",
                    right=True,
                ),
                Option(
                    "It depends on the start: v₁ or v₂.",
                    "There is a cycle along v₂ as well, but it is unstable: any part along v₁ grows.",
                ),
                Option("It comes as fast as before.", "The eigengap sets the speed. Try 0.95 and 0.99 in the panel."),
            ],
        ),
        Question(
            "What plays on a network the part that x plays on a quadratic?",
            "section 4",
            [
                Option("The loss.", "The loss is a number: it has no direction that could align."),
                Option(
                    "The distance from the minimum.",
                    "Γ is a whole manifold of minima, and the iterate goes on drifting along it.",
                ),
                Option(
                    "The gradient ∇L.",
                    "Near Γ it obeys the same recursion, up to O(ηρ²), and so aligns with v₁ (Theorem 4.5).",
                    right=True,
                ),
            ],
        ),
    ],
)

TWO_WRONGS = Quiz(
    "03_two_wrongs_make_a_right",
    [
        Question(
            "If the term that SAM drops were a small correction, where in the valley would SAM be bound for?",
            "section 2",
            [
                Option("(0, 0), the least λ₁", "There SAM does go. The question is what L_Asc, taken whole, prefers."),
                Option("(1, 1), the least λ_M", "L_Asc prefers a small λ_M (Theorem 4.2, Table 1).", right=True),
                Option("(0.8, 1/7), the least trace", "That is where the average direction and 1-SAM lead."),
            ],
        ),
        Question(
            "∇L is of order ρ, and ρ goes to 0. How large is the dropped term beside the one that is kept?",
            "section 4",
            [
                Option(
                    "About as large as ever.",
                    "Its factor ρ/‖∇L‖ stays: SAM is no approximation of descent on L_Asc (Section 4).",
                    right=True,
                ),
                Option("It vanishes beside it.", "It would for a fixed ∇L. Here ρ/‖∇L‖ stays what it is."),
                Option("It outgrows it.", "It would if ∇L went to 0 faster than ρ. Here they go together."),
            ],
        ),
        Question(
            "Full-batch SAM lowers λ₁ in this valley. What does λ_M do meanwhile?",
            "section 3",
            [
                Option("It falls as well.", "Nothing asks for that: look at the other side of the valley."),
                Option("It rises.", "Only λ₁ counts for SAM (Theorem 4.5), and towards (0, 0) F₂ grows.", right=True),
                Option("It stays.", "λ_M is 2F₂, which depends on x₁ and x₂ too."),
            ],
        ),
        Question(
            "A minimizer of L + R_Asc has the smallest λ_M. Where does gradient descent on L_Asc come to rest?",
            "section 5",
            [
                Option(
                    "At (1, 1), at any η.", "A run with a finite step bounces, and a bouncing iterate is no minimizer."
                ),
                Option("At (0, 0), like SAM.", "SAM gets there by dropping a term. Here nothing is dropped."),
                Option(
                    "Short of (1, 1), and closer with a smaller η.",
                    "An explicit bias speaks of minimizers (Definition 4.3), not of a run with finite steps.",
                    right=True,
                ),
            ],
        ),
    ],
)

FLOW = Quiz(
    "04_limiting_flow",
    [
        Question(
            "ρ is halved. How many steps does SAM now take to the same place on Γ?",
            "section 1",
            [
                Option("Twice as many.", "The drift along Γ is a term of second order in ρ."),
                Option("As many: η sets the step.", "The perturbation makes the drift: without ρ there is none."),
                Option("Four times as many.", "Time on Γ is τ = ηρ²t (Theorem 4.5, Eq. 7).", right=True),
            ],
        ),
        Question(
            "SAM shall stay closer to the flow, up to the same τ. What helps?",
            "section 2",
            [
                Option("A smaller η.", "The error is O(η ln(1/ρ)) (Theorem 4.5).", right=True),
                Option("A smaller ρ.", "It only takes more steps: the error is no power of ρ."),
                Option("More steps.", "More steps at the same η and ρ are more τ: another place on the flow."),
            ],
        ),
        Question(
            "The term ρ∇²L u of SAM's gradient is 1/ρ larger than the third-order one. Why does it not move Φ(x)?",
            "section 3",
            [
                Option("It is zero on Γ.", "∇L is zero there. ∇²L u is not: u points along v₁."),
                Option(
                    "It is normal to Γ.",
                    "The Hessian maps into the normal space, which ∂Φ projects away (Lemma 3.5).",
                    right=True,
                ),
                Option(
                    "It averages out over two steps.", "No averaging is needed: each single step leaves Φ(x) alone."
                ),
            ],
        ),
        Question(
            "The bounce turns u from v₁ to −v₁ at each step. Does the drift along Γ turn as well?",
            "section 3",
            [
                Option("Yes, so two steps cancel.", "Count how often u stands in ∇³L[u, u]."),
                Option("No.", "u enters twice: ∇³L[u, u] = ∇λ₁ for both signs (Eq. 7).", right=True),
            ],
        ),
    ],
)

FULL_BATCH = {
    "start": START,
    "sharpnesses": SHARPNESSES,
    "alignment": ALIGNMENT,
    "two_wrongs": TWO_WRONGS,
    "flow": FLOW,
}
