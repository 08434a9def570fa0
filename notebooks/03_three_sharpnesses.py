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
# # Three notions of sharpness
#
# **20 minutes.** Goals:
#
# - see where each notion of sharpness looks, and what it sees from there;
# - predict the three limits of $R_\rho/\rho^2$ at a minimizer and measure them (Theorem 4.2);
# - learn why one step of ascent, which is all that SAM takes, is *not* the worst direction at a minimum.
#
# Before each experiment there is a question. Write your answer down first.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. Where each one looks
#
# How much can the loss rise within distance ρ of $x$? That depends on where one looks (Eqs. 1, 2 and 4):
#
# | notion | looks | sharpness $R_\rho(x)$ |
# |---|---|---|
# | worst direction | where it rises most | $\max_{\lVert v\rVert\le1} L(x+\rho v) - L(x)$ |
# | ascent direction | along the gradient, as SAM does | $L\!\left(x+\rho\,\nabla L(x)/\lVert\nabla L(x)\rVert\right) - L(x)$ |
# | average direction | everywhere alike | $\mathbb{E}_g\,L(x+\rho\,g/\lVert g\rVert) - L(x)$, with Gaussian $g$ |
#
# **Question: on the side of a bowl the worst and the ascent arrow almost coincide. Take the point down to the minimum. Do they still?**

# %%
from samviz.panels import sharpness_panel

panel = sharpness_panel()
panel

# %% [markdown]
# The ring is the point that you drag; *distance to Γ* takes you from there towards the minimum, and the dot is where you are. A dotted arrow is a second direction as bad as the worst, within 2 %.
#
# <details><summary>What you see</summary>
#
# Far from the minimum the slope decides, and both look up the slope: their two curves on the right rise like $\lVert\nabla L\rVert/\rho$ towards small ρ. Set *distance to Γ* to 0.001: only curvature is left. The worst arrow turns to $v_1$, the horizontal axis, from whichever side you come. The ascent arrow stays with your side: drag the ring near the vertical axis, and it gets only a quarter of the rise. The average never cared.
#
# </details>

# %% [markdown]
# **Try these, with a prediction first:**
#
# - the ratio λ₁/λ₂ from 4 to 1: which of the three limits move?
# - the *bent* bowl at the minimum, ρ from 0.01 to 1: which curve leaves its dashed line first?
# - the *valley*, whose floor is flat, so $\lambda_2=0$: is the limit of the ascent notion 0 there?
#
# <details><summary>What you see</summary>
#
# - λ₁ is fixed, so the worst limit stays. The other two rise, until all three are equal at ratio 1: in a round bowl every direction is alike.
# - The average, from ρ = 0.3 or so: it looks everywhere, so it feels the bend. The worst one holds out longest, since along $v_1$ this loss is a parabola, bend or not; only near ρ = 1 does another direction beat it.
# - No. Along the floor the gradient has no component, so the ascent arrow never points there: what counts is $\lambda_M$, the smallest eigenvalue that is *not* zero. Here there is one only, and worst and ascent agree. The average divides by all $D=2$ directions, the flat one too.
#
# </details>

# %% [markdown]
# ## 2. The limits, predicted and measured
#
# At a minimizer the gradient is zero and $L(x+\rho v)-L(x)\approx\tfrac12\rho^2\,v^\top\nabla^2L\,v$, so $R_\rho/\rho^2$ has a limit $S$ as ρ → 0, the *limiting regularizer* (Theorem 4.2, Table 1):
#
# | worst | ascent | average |
# |---|---|---|
# | $\lambda_1/2$ | $\lambda_M/2$ | $\operatorname{Tr}/(2D)$ |
#
# On Γ itself there is no ascent direction: $R_{\mathrm{Asc}}=+\infty$, and its limit is an infimum over points nearby (Definition 4.1). **Question: a bowl has eigenvalues 2 and 0.5. What does the ascent notion give at a point next to the minimum along $v_1$, along $v_2$, and diagonally between them?**

# %%
from samviz.geometry import ascent_direction_sharpness, average_direction_sharpness, worst_direction_sharpness
from samviz.problems import quadratic

bowl, rho = quadratic([2.0, 0.5]), 0.1
sides = [[1e-6, 0.0], [0.0, 1e-6], [1e-6, 1e-6]]

# %%
# NBVAL_CHECK_OUTPUT
print("predicted: worst 1, ascent 0.25 at the least, average 0.625")
for R in (worst_direction_sharpness, ascent_direction_sharpness, average_direction_sharpness):
    print(R.__name__, (R(bowl, sides, rho).value / rho**2).numpy().round(3))

# %% [markdown]
# Diagonally it is almost as large as along $v_1$: the gradient of a point beside the minimum is $\nabla^2L\,(x-x^*)$, which leans towards $v_1$. Only a point exactly on the flattest side shows $\lambda_M$. An optimizer of $L+R_{\mathrm{Asc}}$ finds that side, since that is where its loss is least.
#
# ## 3. A valley of minimizers
#
# The paper's toy (Figure 1) has four parameters and $L=F_1x_3^2+F_2x_4^2$, where $F_1$ and $F_2$ depend on $x_1, x_2$. Γ is the plane $x_3=x_4=0$, and $\nabla^2L$ has eigenvalues $2F_1, 2F_2, 0, 0$ there. **Question: at (0.6, 0.9) these are 26.44, 3.3, 0, 0. Which three numbers will you measure?**

# %%
import torch

from samviz.geometry import limiting_regularizer
from samviz.problems import valley

toy, foot = valley(), torch.tensor([0.6, 0.9, 0.0, 0.0])

# %%
# NBVAL_CHECK_OUTPUT
for kind, formula in (("worst", "λ₁/2"), ("ascent", "λ_M/2"), ("average", "Tr/(2D)")):
    print(f"{kind}: {formula} = {limiting_regularizer(toy, foot, kind).value.item():.4f}")

# %%
# NBVAL_CHECK_OUTPUT
near = foot + torch.tensor([[0, 0, 1e-8, 0], [0, 0, 0, 1e-8]])  # beside Γ along x₃, and along x₄
for R in (worst_direction_sharpness, ascent_direction_sharpness, average_direction_sharpness):
    ratios = [(R(toy, near, rho).value / rho**2).numpy().round(2) for rho in (0.3, 0.1, 0.01)]
    print(R.__name__, *ratios)

# %% [markdown]
# Each pair is the two sides; ρ falls from left to right. Different notions single out different points of Γ: the smallest $\lambda_1$ is at (0, 0), the smallest $\lambda_M$ at (1, 1), the smallest trace at (0.8, 1/7). So it matters which one an optimizer really lowers. SAM's formula has the ascent direction in it. What it lowers is $\lambda_1$, and the next notebooks show why.
#
# ## 4. One step of ascent is not the worst direction
#
# "SAM takes one step of ascent to the worst point nearby" is how it is often told. **Question: at a minimum that gradient descent has found for a small network, what share of the worst rise does that one step get?**
#
# A second step of ascent from there, projected on the sphere, is a step of the power method. Let us take $K$ of them.

# %%
from samviz.dynamics import gradient_descent_minimum
from samviz.geometry.ball_maximum import maximize_on_sphere
from samviz.problems import mlp

sine = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
x = gradient_descent_minimum(sine)[None]

# %%
# NBVAL_CHECK_OUTPUT
worst = worst_direction_sharpness(sine, x, rho=0.005).value
slope = sine.gradient(x)[1]
for K in (1, 2, 3, 5, 10, 20):
    rise = maximize_on_sphere(sine, x, 0.005, slope / slope.norm(), gain=0, most=K).rise
    print(f"K = {K:2}: {(rise / worst).item():6.1%} of the worst rise")

# %% [markdown]
# <details><summary>Why so little</summary>
#
# Under gradient descent the component of ∇L along $v_1$ dies first, so at its minimum the gradient lies in the flattest directions that are not quite flat. The step looks precisely where there is nothing to see. That is $\lambda_M$ instead of $\lambda_1$, on a network.
#
# </details>

# %% [markdown]
# So a fixed $K$ is no measure of the worst direction. Climb until a step gains little; `worst_direction_sharpness` does, from several starts, and says what it left undone.

# %%
# NBVAL_CHECK_OUTPUT
found = worst_direction_sharpness(sine, x, rho=0.005)
print(f"converged: {found.converged.item()}, 1 − cos(v, ∇L(x + ρv)) below 1e-6: {found.residual.item() < 1e-6}")
print(f"R / ρ² over λ₁/2: {(found.value / 0.005**2 / limiting_regularizer(sine, x, 'worst').value).item():.2f}")

# %% [markdown]
# ## 5. Your turn
#
# Write the ascent sharpness yourself. `loss` and `gradient` are functions of a numpy vector `x`.

# %%
from samviz.course import check


def ascent_sharpness(loss, gradient, x, rho):
    return ...  # your formula


check("ascent_sharpness", ascent_sharpness)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import numpy as np
#
#
# def ascent_sharpness(loss, gradient, x, rho):
#     g = gradient(x)
#     return loss(x + rho * g / np.linalg.norm(g)) - loss(x)
# ```
#
# </details>
#
# ## What to take away
#
# 1. Three notions, three limits: $\lambda_1/2$, $\lambda_M/2$, $\operatorname{Tr}/(2D)$ (Theorem 4.2).
# 2. On a slope the ascent direction is nearly the worst one. At a minimum it is not, and there the bias is decided.
# 3. A fixed number of ascent steps measures nothing in particular; stop by gain.
#
# ## Quiz
#
# Four questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("sharpnesses")

# %% [markdown]
# If the ascent direction is so poor, how can SAM lower $\lambda_1$? Because SAM does not stay where its gradient is poor: [01_alignment](01_alignment.ipynb).
