# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One sample at a time: from λ₁ to the trace
#
# **25 minutes.** Goals:
#
# - see why one sample aligns by itself: its Hessian has rank one (Lemma 5.5);
# - check that the three notions of sharpness, taken sample by sample, all have the same bias (Theorem 5.3);
# - run SAM at every batch size from one minimum, beside the two limiting flows (Theorems 4.5 and 5.4);
# - see why the batch sizes in between have no theorem (Example 5.8).
#
# Before each experiment there is a question. Write your answer down first.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %%
import numpy as np
import torch

from samviz.claims.subjects import interpolating

problem, x = interpolating()
problem

# %% [markdown]
# A network of 19 parameters that passes exactly through 5 points: `x` is a point of Γ. There are fewer samples than parameters, as in Setting 5.1, and the loss is the mean of $L_k(x)=\tfrac12\,(f_k(x)-y_k)^2$.
#
# ## 1. One sample, rank one
#
# **Question: the Hessian of the whole loss has 5 non-zero eigenvalues here. How many has the Hessian of one sample?**
#
# Differentiate $L_k$ twice: $\nabla^2L_k=\nabla f_k\nabla f_k^\top+(f_k-y_k)\nabla^2f_k$. At a point that interpolates, the second term is zero.

# %%
# NBVAL_CHECK_OUTPUT
from samviz.geometry import alignment, hessian_trace, top_eigenpairs

one = torch.arange(5)[:, None]  # five batches of one sample
values = top_eigenpairs(problem, x.expand(5, -1), 2, batch=one).values
print("λ₁ of each sample:", values[:, 0].numpy().round(3))
print("λ₂ of each sample below 1e-7:", bool(values[:, 1].abs().max() < 1e-7))
print(f"trace: {values[:, 0].mean():.3f} predicted, {hessian_trace(problem, x).value.item():.3f} measured")

# %% [markdown]
# One each. And $\nabla L_k=(f_k-y_k)\nabla f_k$ lies along that one direction, wherever you come from: what full-batch SAM has to work for, one sample has for free (Lemma 5.5). The prediction for the trace is the mean of the samples' λ₁.
#
# **Question: step off Γ by 0.001 in a random direction. How well is each $\nabla L_k$ aligned with its own top eigenvector, and how well is ∇L with its?**

# %%
# NBVAL_CHECK_OUTPUT
off = x + 0.001 * torch.tensor(np.random.default_rng(0).normal(size=19))
print("one sample:", alignment(problem, off.expand(5, -1), batch=one).cos_v1.numpy().round(3))
print("all samples:", alignment(problem, off).cos_v1.numpy().round(2))

# %% [markdown]
# ## 2. Three notions, one bias
#
# For the whole loss the three notions of sharpness have three biases: λ₁, $\lambda_M$ and the trace. **Question: take each notion for one sample and then the mean over the samples. What are the three limits of $R_\rho/\rho^2$?**
#
# A sample has only one non-zero eigenvalue, so its largest and its smallest non-zero one are the same number, and its trace as well. The mean over the samples of that number is Tr(∇²L) (Theorem 5.3).

# %%
from samviz.geometry import ascent_direction_sharpness, average_direction_sharpness, worst_direction_sharpness

rho = 0.001
near = x + 1e-7 * torch.tensor(np.random.default_rng(0).normal(size=19))  # on Γ itself there is no ascent direction
worst = worst_direction_sharpness(problem, x, rho, stochastic=True).value.item() / rho**2
ascent = ascent_direction_sharpness(problem, near, rho, stochastic=True).value.item() / rho**2
average = average_direction_sharpness(problem, x, rho, stochastic=True).value.item() / rho**2

# %%
# NBVAL_CHECK_OUTPUT
trace = hessian_trace(problem, x).value.item()
print(f"worst    Tr/2    predicted {trace / 2:.2f}  measured {worst:.2f}")
print(f"ascent   Tr/2    predicted {trace / 2:.2f}  measured {ascent:.2f}")
print(f"average  Tr/(2D) predicted {trace / 38:.3f} measured {average:.3f}")

# %% [markdown]
# The ablation that separates the notions for full batches separates nothing here: whichever of the three 1-SAM minimizes, it is the trace.
#
# ## 3. The batch size on a slider
#
# 1-SAM draws one sample and takes SAM's step on it (Eq. 17). Near Γ it follows $dX/d\tau=-\tfrac12\,\partial\Phi(X)\nabla\operatorname{Tr}(\nabla^2L(X))$ (Theorem 5.4, Eq. 18). Here is the network that has learned a sine, with 20 samples and batch size 1.
#
# **Question: which falls faster at batch size 1, λ₁ or the trace? And which part of the trace does full-batch SAM leave alone?** Press Play, then move the batch size between 1 and 20; Reset keeps the run before as a ghost.

# %%
from samviz.dynamics import Run, gradient_descent_minimum
from samviz.lab import Lab
from samviz.problems import mlp

sine = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
lab = Lab(sine, lr=0.05, rho=0.1, batch_size=1)
lab


# %%
def falls(**settings):
    run = Run(sine, "sam", x0=gradient_descent_minimum(sine), device="cpu", **settings)
    before, _, after = run.measure(), run.step(1000), run.measure()
    return np.array([before[name].max() - after[name].max() for name in ("eigenvalues", "trace")])


single, full = falls(lr=0.05, rho=0.1, batch_size=1), falls(lr=0.1, rho=0.02)

# %%
# NBVAL_CHECK_OUTPUT
print("1-SAM: the trace falls further than λ₁ alone:", bool(single[1] > 1.3 * single[0]))
rest_single, rest_full = single[1] / single[0] - 1, full[1] / full[0] - 1
print("for each 1 that λ₁ falls, the rest of the trace falls more with 1-SAM:", bool(rest_single > 1.3 * rest_full))

# %% [markdown]
# <details><summary>What you see</summary>
# The trace falls further, about 19 against 11.5 in a thousand steps: λ₁ is a part of it, and the rest falls as well, by 0.6 for each 1 that λ₁ falls. Under full-batch SAM it is 0.35: λ₂ hardly moves until λ₁ meets it.
# </details>
#
# ### Every batch size from one minimum
#
# The panel runs SAM from one point of Γ with every batch size at once and looks at λ₁ and the trace on Γ, below the iterates. Dashed are the flows of Eq. 7 (full batch) and Eq. 18 (one sample), which know nothing of the runs.
#
# **Question: the network has 5 samples. Put the batch sizes 1 to 5 in order of how fast they lower λ₁.**

# %%
from samviz.panels import batch_panel

panel = batch_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
# One sample is first and all five are second; 2, 3 and 4 are the slowest, on no line of the theory. The two ends lie on their flows. In the right picture each goes its own way: at the same λ₁, one sample has the smaller rest.
# </details>
#
# **Question: choose the valley of Figure 1. There the two flows part for good. What does the trace do under full-batch SAM?**
#
# <details><summary>What you see</summary>
# It falls, and then it rises again: λ₁ is bought with λ₂, since nothing holds λ₂ back. 1-SAM keeps the trace at its least, 10.66, and accepts a larger λ₁ for it.
# </details>

# %% [markdown]
# ### The fine print: η is not zero
#
# Start 1-SAM in the valley at the point of least trace, $(0.8, 1/7)$. **Question: does it stay?**
#
# Whenever sample $k$ is drawn, the iterate bounces along $v_1(\nabla^2L_k)$ as in Theorem 4.8, from one side of the minimum, $\eta\rho\lambda_k/(2-\eta\lambda_k)$ away, to the other. SAM looks ρ further up: the third-order term is taken at the distance $2\rho/(2-\eta\lambda_k)$, not ρ. So the drift of sample $k$ is stronger by $c_k=(2/(2-\eta\lambda_k))^2$, and the sharper sample counts more ([02_why_sharpness_decreases](02_why_sharpness_decreases.ipynb) measures the same factor for the full batch). Here $\lambda_k=2F_k$, and the place of rest solves $c_1\nabla F_1+c_2\nabla F_2=0$.

# %%
from samviz.problems import valley

rates = np.array([0.04, 0.02, 0.01])
x1, x2 = 0.8, 1 / 7
for _ in range(50):
    F1, F2 = x1**2 + 6 * x2**2 + 8, 4 * (1 - x1) ** 2 + (1 - x2) ** 2 + 1
    c1, c2 = (2 / (2 - 2 * rates * F1)) ** 2, (2 / (2 - 2 * rates * F2)) ** 2
    x1, x2 = 4 * c2 / (c1 + 4 * c2), c2 / (6 * c1 + c2)

# %%
run = Run(valley(mean=True), "sam", rates, rho=0.1, batch_size=1, x0=[[0.8, 1 / 7, 0.1, 0.1]] * 3, trail=6000)
run.step(10000)
rest = torch.stack(list(run.trail)).mean(0)

# %%
# NBVAL_CHECK_OUTPUT
for i in range(3):
    print(f"η = {rates[i]:g}: predicted ({x1[i]:.2f}, {x2[i]:.2f}), measured ({rest[i, 0]:.2f}, {rest[i, 1]:.2f})")

# %% [markdown]
# It rests at $(0.8, 1/7)$ only as η falls. The theorem asks for small η; the correction says how small.
#
# ## 4. In between: Example 5.8
#
# Six samples in the plane, each a quadratic $\tfrac12\lambda_k(a_k^\top x)^2$ of rank one with a direction of its own. **Question: with batch size 1 the gradient is aligned with the top eigenvector of its batch, with batch size 6 as well. With 2 to 5? And does it help to make ρ a thousand times smaller?**

# %%
from samviz.panels import alignment_panel

panel2 = alignment_panel()
panel2

# %% [markdown]
# Left, each dot is a step: the top eigenvector of the batch that was drawn, and how far the gradient points away from it. Columns are batches. Move the batch size, then ρ, then give each sample a second eigenvalue.
#
# <details><summary>What you see</summary>
# One sample: exactly aligned. All: one fixed matrix, and Theorem 4.8 aligns. Between, each batch has its own v₁ and the next step has another batch: the gradient never gets to turn. A smaller ρ changes nothing at all: for z = x/ρ the step reads z ← z − ηA(z + Az/‖Az‖), without ρ. With a second eigenvalue even one sample is not aligned: what counts is the rank, not the size of the batch.
# </details>

# %%
from itertools import combinations

from samviz.problems import quadratic

turn = np.deg2rad([0, 30, 55, 80, 105, 130])
a = np.stack((np.cos(turn), np.sin(turn)), 1)
six = quadratic(np.array([4, 3, 2, 2, 2, 2])[:, None, None] * a[:, :, None] * a[:, None, :])

# %%
# NBVAL_CHECK_OUTPUT
for size in (1, 2, 3, 4, 5, 6):
    run = Run(six, "sam", lr=0.1, rho=1e-6, batch_size=size, x0=[1e-6, 1e-6], device="cpu")
    run.step(500)
    batches = torch.tensor(list(combinations(range(6), size)))  # all that the next step may draw
    cosines = alignment(six, run.x.expand(len(batches), -1), batch=batches).cos_v1
    print(f"batch size {size}: ∇L along v₁ for every batch: {bool(cosines.min() > 0.999)}")

# %% [markdown]
# ## 5. Why the mini-batch case is open
#
# All of SAM's bias sits in one term. On a batch $B$ the drift along Γ is $-\tfrac12\eta\rho^2\,\partial\Phi\,\nabla^3L_B[u,u]$ with $u=\nabla L_B/\lVert\nabla L_B\rVert$. To say what it minimizes, one has to know $u$.
#
# | batch | what fixes $u$ | so $\nabla^3L_B[u,u]$ is | mean over batches |
# |---|---|---|---|
# | one sample | rank one: $u=\pm v_1(\nabla^2L_k)$ at once | $\nabla\lambda_1(\nabla^2L_k)$ | $\nabla\operatorname{Tr}(\nabla^2L)$ |
# | all | one matrix, applied again and again, turns $u$ to $\pm v_1$ | $\nabla\lambda_1(\nabla^2L)$ | the same |
# | between | neither | between the extremes of the batch's Hessian | not known |
#
# Between, $u$ depends on where the last batches have left the iterate, not only on the point of Γ. What one would have to show, as we see it:
#
# 1. that $x/\rho$, across Γ, settles into one stationary distribution, which changes smoothly along Γ;
# 2. that over $\Theta(1/(\eta\rho^2))$ steps the drift averages to its mean under that distribution;
# 3. that this mean is the gradient of something: only then is there a sharpness that is minimized.
#
# The slow lines of the batch panel fit: where $u$ is not $v_1$, $u^\top\nabla^2L_B\,u$ is less than λ₁, and so is its pull.
#
# ## Exercise
#
# The loss is half the mean square error of a network with one output, at an interpolating minimum. `slopes` is an array $(n, D)$ whose rows are the $\nabla f_k$. Return the trace of the full-batch Hessian, without building a Hessian.

# %%
from samviz.course import check


def trace_from_slopes(slopes):
    return ...  # your formula


check("trace", trace_from_slopes)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def trace_from_slopes(slopes):
#     return (slopes**2).sum(axis=1).mean()
# ```
#
# Each $\nabla f_k\nabla f_k^\top$ has the trace $\lVert\nabla f_k\rVert^2$, which is also its λ₁, and the loss is the mean of the samples. A sum over squares of first derivatives: at an interpolating minimum, the trace costs one Jacobian.
# </details>
#
# ## What to take away
#
# 1. At an interpolating minimizer one sample's Hessian has rank one: alignment is free, and all three notions have the bias Tr (Lemma 5.5, Theorem 5.3).
# 2. 1-SAM lowers the trace (Theorem 5.4), full-batch SAM λ₁ (Theorem 4.5): in the valley they end in different places.
# 3. η counts: a sample's pull is stronger by $(2/(2-\eta\lambda_k))^2$.
# 4. In between, the gradient is not aligned, however small ρ is. Nobody has a theorem there (Example 5.8).
#
# ## Quiz
#
# Four questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("one_sample")

# %% [markdown]
# Next: [06_where_the_theory_ends](06_where_the_theory_ends.ipynb), where SAM finds what gradient descent hides.
