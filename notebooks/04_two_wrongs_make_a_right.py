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
# # Two wrongs make a right
#
# **25 minutes.** Goals:
#
# - see Figure 1 move: six methods on one valley, each making another side of it flat;
# - take SAM's two approximations apart, and see that each alone is wrong (Table 1, Section 4);
# - write the term that SAM drops, and measure how large it is;
# - know what "explicit bias" does not promise about a run with a finite η.
#
# SAM is meant to descend $L_\mathrm{Max}(x)=\max_{\lVert v\rVert\le1}L(x+\rho v)$. What it computes differs in two ways:
#
# 1. the ascent direction $u=\nabla L/\lVert\nabla L\rVert$ takes the place of the worst direction $v$: that is $L_\mathrm{Asc}$;
# 2. the gradient of $L_\mathrm{Asc}$ is taken as if $u$ did not depend on $x$: that is SAM (Eq. 3).

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. A valley with three best places
#
# $L=F_1x_3^2+F_2x_4^2$ with $F_1=x_1^2+6x_2^2+8$ and $F_2=4(1-x_1)^2+(1-x_2)^2+1$ (Figure 1). Every point with $x_3=x_4=0$ is a minimizer. There the non-zero eigenvalues are $\lambda_1=2F_1$ and $\lambda_M=2F_2$.
#
# **Question: where on the floor $[0,1]^2$ is λ₁ least, where λ_M, where their sum, the trace?** The first two can be read off.

# %%
from samviz.course import check

least_trace = ...  # (x₁, x₂), your answer
check("least_trace", least_trace)

# %% [markdown]
# <details><summary>Solution</summary>
#
# $\partial_1(F_1+F_2)=2x_1-8(1-x_1)=0$ and $\partial_2(F_1+F_2)=12x_2-2(1-x_2)=0$.
#
# ```python
# least_trace = (0.8, 1 / 7)
# ```
#
# </details>

# %%
# NBVAL_CHECK_OUTPUT
import torch

from samviz.problems import valley

for name, x in {"least λ₁": (0.0, 0.0), "least λ_M": (1.0, 1.0), "least trace": (0.8, 1 / 7)}.items():
    first, last = valley().eigenvalues(torch.tensor(x)).tolist()
    print(f"{name:11} at ({x[0]:.1f}, {x[1]:.3f}): λ₁ = {first:.1f}, λ_M = {last:.1f}, trace {first + last:.1f}")

# %% [markdown]
# ## 2. Who goes where
#
# All six methods start at $(0.3, 0.6)$, a little above the floor.
#
# **Question: before you run the cell, write down for each method where on the floor it will go.** The statements to guess from (Theorem 4.2, Table 1): the worst direction's sharpness is $\rho^2\lambda_1/2$, the ascent direction's $\rho^2\lambda_M/2$, the average direction's $\rho^2\operatorname{Tr}/(2D)$.

# %%
from samviz.panels import ablation_panel

panel = ablation_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# | method | approximations | goes to | lowers |
# |---|---|---|---|
# | descent on exact $L_\mathrm{Max}$ | none | (0, 0) | λ₁ |
# | descent on exact $L_\mathrm{Asc}$ | 1 | towards (1, 1) | λ_M |
# | SAM | 1 and 2 | (0, 0) | λ₁ |
# | 1-SAM | 1 and 2, one sample a step | beside (0.8, 1/7) | trace (Theorem 5.4) |
# | descent on exact $L_\mathrm{Avg}$ | | (0.8, 1/7) | trace |
# | gradient descent | | stays | nothing |
#
# The first approximation turns the bias from λ₁ to λ_M: wrong. The second turns it again. Together they give back λ₁, the notion that SAM was meant for.
# </details>
#
# Things to try, each with a prediction first: drag the start; lower η to 0.0005 (does exact $L_\mathrm{Asc}$ come closer to (1, 1)?); raise η until a method diverges (which one first?).
#
# ρ = 1 is as wide as the valley. That is allowed here because $L$ is exactly quadratic across its floor, so that ρ only sets the clock: phase II takes $1/(\eta\rho^2)$ steps. Lower ρ and see the same paths, more slowly. On a network ρ has to be small.
#
# The same in numbers: the direction in which each method drifts at (0.5, 0.25), and its cosine with the descent direction of each curvature. Predicted is +1.00 for the one it is said to lower.

# %%
# NBVAL_CHECK_OUTPUT
from samviz.claims.ablation import ablation

for row in ablation(quick=True, lr_ascent=2.5e-4)[:4]:
    cosines = "  ".join(f"{cosine:+.2f} −∇{name}" for name, cosine in row.cosines.items())
    print(f"{row.method:20} lowers {row.minimizes:8} {cosines}")

# %% [markdown]
# ## 3. Which side became flat
#
# The same runs, seen across the floor. $x_3$ is the steep side, $x_4$ the other one. All six valleys are drawn on one scale. Move the slider from the start to the end of the way.
#
# **Question: SAM flattens the steep side. What happens to the other one?**

# %%
from samviz.panels import figure_one_panel

sides = figure_one_panel()
sides

# %% [markdown]
# <details><summary>What you see</summary>
# Under SAM and exact L_Max the other side gets steeper: λ_M rises from 6.2 to 12. Only λ₁ counts for them. Exact L_Asc lowers λ_M, 1-SAM the sum of both.
# </details>
#
# ## 4. The term that SAM drops
#
# **Question: how large is the dropped term, compared with the gradient that SAM keeps, as ρ → 0?** If it were a small correction, SAM would inherit the bias of $L_\mathrm{Asc}$. Write it. With $g=\nabla L(x)$, $u=g/\lVert g\rVert$ and $x^+=x+\rho u$, the chain rule gives ∇L(x⁺) and one term more.


# %%
def ascent_gradient(gradient, hessian, x, rho):
    return ...  # your formula


check("ascent_gradient", ascent_gradient)

# %% [markdown]
# <details><summary>Solution</summary>
#
# $u$ turns with $x$: its derivative is $(I-uu^\top)H/\lVert g\rVert$, so $\nabla L_\mathrm{Asc}=\nabla L(x^+)+\frac{\rho}{\lVert g\rVert}H\,(I-uu^\top)\nabla L(x^+)$.
#
# ```python
# import numpy as np
#
#
# def ascent_gradient(gradient, hessian, x, rho):
#     g = gradient(x)
#     u = g / np.linalg.norm(g)
#     ahead = gradient(x + rho * u)
#     return ahead + rho / np.linalg.norm(g) * hessian(x) @ (ahead - u * (u @ ahead))
# ```
#
# </details>
#
# Near the floor, $\lVert g\rVert$ is itself of order ρ, and the factor $\rho/\lVert g\rVert$ does not vanish:

# %%
# NBVAL_CHECK_OUTPUT
from samviz.dynamics import RULES

for rho in (0.1, 0.01, 0.001):
    x = torch.tensor([[0.3, 0.6, rho / 10, rho]], dtype=torch.float64)
    exact, sam = (x - RULES[rule](valley(), x, None, 1.0, rho).x for rule in ("ascent", "sam"))
    print(f"ρ = {rho:<5}  ‖dropped‖/‖kept‖ = {(exact - sam).norm() / sam.norm():.2f}")

# %% [markdown]
# For $L_\mathrm{Max}$ the same omission costs nothing: at a maximizer the derivative of $v$ contributes nothing (the envelope theorem). The second approximation is harmless for the right loss and decisive for the wrong one.
#
# ## 5. What explicit bias does not promise
#
# *Among minimizers*, $L_\mathrm{Asc}$ prefers the smallest λ_M. A run of gradient descent on it is another matter: it stops short of (1, 1).
#
# **Question: η is halved, and halved again. Does the resting point move towards (1, 1), away from it, or not at all?**

# %%
# NBVAL_CHECK_OUTPUT
from samviz.dynamics import Run

run = Run(valley(), "ascent", lr=[0.004, 0.002, 0.001], rho=1.0, x0=[[0.3, 0.6, 0.1, 0.1]] * 3, device="cpu")
run.step(2000)
for lr, x in zip(run.settings.lr, run.x):
    print(f"η = {lr}: rests {(x[:2] - 1).norm():.1f} away from (1, 1)")

# %% [markdown]
# It moves closer, slowly. The steps bounce, and a bouncing iterate is no minimizer: an explicit bias belongs to the minimizer, and a discrete step keeps the iterate from it. At ρ = 0.1 it takes η = 0.0001 to reach (0.97, 0.55). The implicit bias of SAM comes from its update rule and needs no such patience.
#
# 1-SAM has a finite-η correction too, and this one is a formula. On a 2-cycle along an eigenvector with eigenvalue λ the perturbed point is $2\rho/(2-\eta\lambda)$ from the floor, not ρ (Theorem 4.8). Every drift is stronger than in Eqs. 7 and 18 by $(2/(2-\eta\lambda))^2$, and most so for the sharper sample. With $\Lambda_k=4F_k$ for the two samples, 1-SAM then rests where $\sum_k 1/(2-\eta\Lambda_k)$ is least.
#
# **Question: is that nearer to (0, 0) or to (1, 1) than (0.8, 1/7) is?**

# %%
axis = torch.linspace(0, 1, 1001, dtype=torch.float64)
floor = torch.cartesian_prod(axis, axis)
one = Run(valley(), "sam", [0.02] * 4 + [0.005] * 4, 0.5, 1, x0=[[0.8, 1 / 7, 0.05, 0.05]] * 8, device="cpu", trail=700)
one.step(1000)
mean = torch.stack(list(one.trail)).mean(0).view(2, 4, 4).mean(1)  # over steps and seeds

# %%
# NBVAL_CHECK_OUTPUT
for lr, x in zip((0.02, 0.005), mean):
    predicted = floor[(1 / (2 - 2 * lr * valley().eigenvalues(floor))).sum(1).argmin()]
    near = ((x[:2] - predicted).abs() < 0.015).all()
    print(f"η = {lr}: predicted ({predicted[0]:.2f}, {predicted[1]:.2f}), measured within 0.015 of it: {bool(near)}")

# %% [markdown]
# As η → 0 it goes to (0.8, 0.14), as Theorem 5.4 says.
#
# ## What to take away
#
# 1. Ascent direction for worst direction: λ₁ becomes λ_M. Dropping the derivative of the direction: λ₁ again. Two wrongs make a right.
# 2. The dropped term is as large as what is kept. SAM is no approximation of descent on $L_\mathrm{Asc}$.
# 3. An explicit bias speaks of minimizers. A run with a finite η may rest elsewhere.
# 4. One sample at a time, the same rule lowers the trace.
#
# ## Quiz
#
# Four questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("two_wrongs")

# %% [markdown]
# Next: [02_why_sharpness_decreases](02_why_sharpness_decreases.ipynb) shows where the λ₁ comes from, in three lines.
