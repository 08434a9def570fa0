"""Questions on the notebooks 05 to 08: single samples, networks, pictures of the loss, and a model of one's own."""

from __future__ import annotations

from samviz.exercises.quiz import Option, Question, Quiz

ONE_SAMPLE = Quiz(
    "05_one_sample_at_a_time",
    [
        Question(
            "Near an interpolating minimum, why is ∇L_k aligned with the top eigenvector of ∇²L_k?",
            "section 1",
            [
                Option(
                    "SAM's bounce turns it there.",
                    "So it is for the full batch. One sample is aligned before any step.",
                ),
                Option(
                    "One sample has less noise.",
                    "It has the most. What counts is how many eigenvalues its Hessian has.",
                ),
                Option(
                    "∇²L_k has rank one, and ∇L_k lies along its one direction.",
                    "Both are made of ∇f_k alone (Lemma 5.5).",
                    right=True,
                ),
            ],
        ),
        Question(
            "Take the ascent notion of sharpness for each sample, then the mean. What is the limit of R/ρ²?",
            "section 2",
            [
                Option(
                    "Tr/2", "A sample's only eigenvalue is its λ₁, its λ_M and its trace (Theorem 5.3).", right=True
                ),
                Option("λ_M/2", "That is the limit for the whole loss. A sample has one non-zero eigenvalue only."),
                Option("λ₁/2", "The mean of the samples' λ₁ is not the λ₁ of their mean."),
            ],
        ),
        Question(
            "Five samples, and a batch of 1, 2, 3, 4 or 5. Which batches lower λ₁ most slowly?",
            "section 3",
            [
                Option(
                    "One sample: it lowers the trace.",
                    "λ₁ is a part of the trace, and each sample pulls with all of its λ₁.",
                ),
                Option(
                    "Those in between.",
                    "Their gradients are not aligned (Example 5.8), so their pull is less than λ₁'s.",
                    right=True,
                ),
                Option(
                    "All five: one direction at a time.", "The full batch aligns too. In the panel it comes second."
                ),
            ],
        ),
        Question(
            "With 3 of 6 samples ∇L_B is not aligned with the batch's v₁. Does a ρ a thousand times smaller help?",
            "section 4",
            [
                Option("Yes: the theorems ask for small ρ.", "Write the step for z = x/ρ, and look where ρ is left."),
                Option("No.", "In z = x/ρ the step does not contain ρ at all (Example 5.8).", right=True),
            ],
        ),
    ],
)

NETWORKS = Quiz(
    "06_networks",
    [
        Question(
            "After gradient descent ∇L is orthogonal to v₁. Why?",
            "section 1",
            [
                Option(
                    "At a minimum ∇L is zero.", "It is small, not zero: the loss still falls, along flat directions."
                ),
                Option(
                    "Each step shrinks the part along v₁ most, by 1 − ηλ₁.",
                    "So it dies first. That SAM's gradient lies along v₁ is SAM's doing (Theorem 4.5).",
                    right=True,
                ),
                Option("v₁ is tangent to Γ.", "Along v₁ the loss rises most: it is normal to Γ."),
            ],
        ),
        Question(
            "λ₁ has met λ₂, and |cos(∇L, v₁)| jumps about. What has happened to the alignment?",
            "section 3",
            [
                Option("It is lost: λ₁ cannot fall any more.", "Both eigenvalues go on falling, together."),
                Option(
                    "The eigenvectors have not converged.",
                    "They have. Two equal eigenvalues share a plane of eigenvectors.",
                ),
                Option(
                    "Nothing: ∇L still lies in the top eigenspace.",
                    "Only Assumption 4.4, λ₁ > λ₂, has gone, and with it the one v₁ to compare with.",
                    right=True,
                ),
            ],
        ),
        Question(
            "SAM has run for long at η = 0.1 and ρ = 0.02. Where is λ₁?",
            "section 4",
            [
                Option(
                    "On SAM's own edge of stability, below 2/η.",
                    "On the 2-cycle of Theorem 4.8 ‖∇L‖ has just the length that makes the two equal.",
                    right=True,
                ),
                Option(
                    "At 2/η = 20.",
                    "That is the edge for gradient descent. SAM looks ahead, where the gradient is larger.",
                ),
                Option(
                    "Near no edge: λ₁ falls for good.",
                    "It falls, and the edge with it. Compare the two printed numbers.",
                ),
            ],
        ),
        Question(
            "Four times η and half of ρ give the same τ after 1,000 steps. Does λ₁ fall by the same?",
            "section 7",
            [
                Option("Yes: τ = ηρ²t is all that counts.", "That is the limit η → 0. Here ηλ₁ is not small."),
                Option("No, less far with the larger η.", "A larger η makes the bounce wider, not narrower."),
                Option(
                    "No, farther with the larger η.",
                    "The bounce is 2/(2 − ηλ₁) times as far out (Theorem 4.8), and the drift goes with its square.",
                    right=True,
                ),
            ],
        ),
    ],
)

LANDSCAPES = Quiz(
    "07_loss_landscapes",
    [
        Question(
            "In a ReLU network one layer is multiplied by 10, the next divided by 10. What changes?",
            "section 2",
            [
                Option("λ₁, and what the network computes.", "relu(αz) = α relu(z): follow the two factors through."),
                Option(
                    "λ₁ only.",
                    "Sharpness belongs to the parameters, not to the function (Dinh et al. 2017).",
                    right=True,
                ),
                Option("Neither.", "The loss is the same at the new point, but its second derivatives are not."),
            ],
        ),
        Question(
            "A path of training with 673 parameters is drawn in a random plane. What does one see of it?",
            "section 4",
            [
                Option(
                    "Its shape, on a smaller scale.", "A plane holds 2/D of a squared length, on average: here 0.3 %."
                ),
                Option("About half of it.", "Not two dimensions of four, but two of 673."),
                Option(
                    "Next to nothing: a dot.", "Hence the planes along a path's own PCA (Li et al. 2018).", right=True
                ),
            ],
        ),
        Question(
            "Along the first axis of its own PCA a path has 61 % of its variance. What does that tell of the training?",
            "section 4",
            [
                Option(
                    "Nothing yet.",
                    "A random walk in many dimensions has as much (Antognini & Sohl-Dickstein 2018).",
                    right=True,
                ),
                Option("It went straight to its goal.", "Ask first what a walk without any goal would show."),
                Option("The picture shows the true losses.", "Off the plane the loss is another one than is drawn."),
            ],
        ),
        Question(
            "On a line between two networks with BatchNorm, the loss at the far end is not the second network's. Why?",
            "section 5",
            [
                Option("Rounding, in float32.", "Rounding is far too small for that, and would be at both ends."),
                Option(
                    "The running statistics stay those of the first.",
                    "They are no parameters, so the line does not carry them (Ioffe & Szegedy 2015).",
                    right=True,
                ),
                Option(
                    "The line misses the second network.",
                    "Its parameters are met exactly. What else does a network keep?",
                ),
            ],
        ),
    ],
)

OWN_MODEL = Quiz(
    "08_your_own_model",
    [
        Question(
            "Over all runs a lower λ₁ goes with a better accuracy, almost perfectly. Is flatness the cause?",
            "section 2",
            [
                Option("Yes, by Theorem 4.5.", "It says that λ₁ falls. Of test accuracy it says nothing."),
                Option(
                    "Yes: look at the correlation.", "Look at it within one method: there are only four groups of runs."
                ),
                Option(
                    "That is not shown.",
                    "A method may change both. Neither Theorem 4.5 nor Theorem 5.4 speaks of accuracy.",
                    right=True,
                ),
            ],
        ),
        Question(
            "After SAM with batches of 32 the full ∇L is no better aligned than after SGD. Is the theory wrong?",
            "section 3",
            [
                Option(
                    "No: SAM perturbed along other gradients.",
                    "Theorem 4.5 is on the full batch; for batches in between there is Example 5.8.",
                    right=True,
                ),
                Option(
                    "Yes: the alignment was its mechanism.",
                    "Say first of which batch the gradient and the Hessian are.",
                ),
                Option(
                    "No: a few more epochs, and it aligns.", "Batches in between keep turning the gradient away again."
                ),
            ],
        ),
        Question(
            "With all labels right, SGD on cross-entropy ends at a far smaller λ₁ than with wrong ones. Why?",
            "section 5",
            [
                Option("SGD seeks flat minima.", "Then it would find them with wrong labels, too."),
                Option(
                    "The network grows sure of its answers.",
                    "Curvature goes as p(1 − p), and no minimizer is finite: Assumption 3.3 does not hold.",
                    right=True,
                ),
                Option(
                    "η falls.",
                    "It falls with wrong labels, too; and λ₁ belongs to the loss at the parameters, η is not in it.",
                ),
            ],
        ),
        Question(
            "A fifth of the labels is wrong, and SAM goes on for ten times as long. What becomes of its advantage?",
            "section 6",
            [
                Option("It stays: SAM refuses the wrong labels.", "It learns them later, not never."),
                Option(
                    "It grows as λ₁ falls.",
                    "They went together over methods. That made neither the cause of the other.",
                ),
                Option(
                    "It goes: SAM learns the wrong labels too.",
                    "It was better where training ended in time; Theorems 4.5 and 5.4 promise no accuracy.",
                    right=True,
                ),
            ],
        ),
    ],
)

BEYOND = {"one_sample": ONE_SAMPLE, "networks": NETWORKS, "landscapes": LANDSCAPES, "own_model": OWN_MODEL}
