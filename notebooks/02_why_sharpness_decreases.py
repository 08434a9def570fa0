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
# # The limiting flow: two phases, and the term that does it
#
# **25 minutes.** Goals:
#
# - see SAM fall into the valley (phase I) and then slide along its floor (phase II), and predict where it is at every step (Theorem 4.5);
# - see how the distance from the prediction shrinks with η;
# - derive the drift in three lines and check each line by numbers, on the valley and on a network.
#
# **Theorem 4.5.** Phase I: within $O(\ln(1/\rho)/\eta)$ steps SAM follows gradient flow of $L$ into an $O(\eta\rho)$ neighbourhood of Γ, the manifold of minimizers. Phase II: for $\Theta(1/(\eta\rho^2))$ steps it tracks, up to $O(\eta\ln(1/\rho))$, the flow on Γ
#
# $$\frac{dX}{d\tau}=-\tfrac12\,\partial\Phi(X)\,\nabla\lambda_1(\nabla^2L(X)),\qquad \tau=\eta\rho^2t\qquad\text{(Eq. 7)}$$
#
# Φ(x) is where gradient flow from $x$ ends; on Γ, ∂Φ projects on the tangent space (Lemma 3.5).

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. The flow in closed form
#
# On the floor of the valley λ₁ is $2(x_1^2+6x_2^2+8)$. **Solve Eq. 7 by hand.**

# %%
from samviz.course import check


def flow(x0, tau):
    return ...  # (x₁, x₂) at time τ


check("flow", flow)

# %% [markdown]
# <details><summary>Solution</summary>
#
# $\nabla\lambda_1=(4x_1, 24x_2)$, so $\dot x_1=-2x_1$ and $\dot x_2=-12x_2$.
#
# ```python
# import numpy as np
#
#
# def flow(x0, tau):
#     return x0[0] * np.exp(-2 * tau), x0[1] * np.exp(-12 * tau)
# ```
#
# </details>
#
# **Question: how many steps does SAM take to τ = 0.5 at η = 0.02 and ρ = 0.2? How many at half that ρ?**


# %%
def steps(tau, lr, rho):
    return ...  # the number of steps


check("steps", steps)

# %% [markdown]
# <details><summary>Solution</summary>
#
# 625 steps, and 2,500 at half the ρ.
#
# ```python
# def steps(tau, lr, rho):
#     return tau / (lr * rho**2)
# ```
#
# </details>
#
# ## 2. The iterate and the flow
#
# Run it. By τ = 0.5 the flow has shrunk $x_1$ by $e^{-1}$. **Question: is the iterate ahead of the flow or behind it, and by how much at half the η?**

# %%
import numpy as np

from samviz.dynamics import Run
from samviz.problems import valley

# %%
# NBVAL_CHECK_OUTPUT
for lr in (0.02, 0.01, 0.005):
    run = Run(valley(), "sam", lr=lr, rho=0.2, x0=[0.6, 0.6, 0.02, 0.002], device="cpu")
    run.step(round(0.5 / (lr * 0.2**2)))
    print(f"η = {lr}: {run.steps} steps, x₁ predicted {0.6 * np.exp(-1):.3f}, measured {run.x[0, 0]:.3f}")

# %% [markdown]
# Ahead, and half as much with half the η: the $O(\eta)$ of the theorem. The reason is Theorem 4.8: on the 2-cycle the gradient is taken $2\rho/(2-\eta\lambda_1)$ away from Γ instead of ρ, so the drift is that of Eq. 7 times $(2/(2-\eta\lambda_1))^2$. With that factor the prediction holds at every η:

# %%
# NBVAL_CHECK_OUTPUT
for lr in (0.02, 0.01, 0.005):
    run = Run(valley(), "sam", lr=lr, rho=0.01, x0=[0.6, 0.0, lr * 0.08, 0.0], device="cpu")
    run.step(400)
    before, sharpness = run.x[0, 0].item(), 2 * (0.6**2 + 8)
    run.step(400)
    drift = (before - run.x[0, 0].item()) / (400 * lr * 0.01**2) / (2 * before)
    print(f"η = {lr}: drift over Eq. 7's: predicted {(2 / (2 - lr * sharpness)) ** 2:.3f}, measured {drift:.3f}")

# %% [markdown]
# Now live. Dashed is the flow, which knows nothing of the run but where it began. Right: the distance at τ = ½ for a grid of η and ρ, and for every setting you try.
#
# Predict before you touch: **(a)** Double η: how many steps less, and how much farther from the flow? **(b)** Halve ρ: the same two. **(c)** Choose 1-SAM: which way does $x_1$ go now?

# %%
from samviz.panels import flow_panel

panel = flow_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# (a) Half the steps, about twice the distance. (b) Four times the steps, and nearly the same distance: the error is O(η ln(1/ρ)), not a power of ρ. (c) Up: Eq. 18 has the trace in place of λ₁, $x_1\to0.8$ at rate 5 and $x_2\to1/7$ at rate 7. Its noise keeps it from the flow by Õ(√η + ρ) (Theorem 5.4); single points may lie closer by luck.
#
# The dotted mark is the end of phase I: from there on ‖∇L‖ stays within twice its length on the 2-cycle of Theorem 4.8.
# </details>
#
# ## 3. The third-order term that does it
#
# A step moves $x$ by $-\eta\nabla L(x+\rho u)$. Follow its shadow Φ(x) on Γ, in three lines.
#
# **Taylor.** $\ \nabla L(x+\rho u)=\nabla L(x)+\rho\,\nabla^2L(x)\,u+\tfrac12\rho^2\,\nabla^3L(x)[u,u]+O(\rho^3)$
#
# **Two terms vanish.** $\ \partial\Phi\,\nabla L=0$, since gradient flow does not change where it ends (Lemma 3.2); and $\partial\Phi\,\nabla^2L\,u=0$ on Γ, since the Hessian maps into the normal space, which ∂Φ projects away (Lemma 3.5).
#
# **What remains.** $\ \Phi(x_{t+1})-\Phi(x_t)\approx-\tfrac12\eta\rho^2\,\partial\Phi\,\nabla^3L[u,u]$; and since $u\approx\pm v_1$ and $\nabla^3L[v_1,v_1]=\nabla\lambda_1$, this is $-\tfrac12\eta\rho^2\,\partial\Phi\,\nabla\lambda_1$: a step of Eq. 7. The sign of $v_1$ does not matter, because it enters twice.
#
# **Question: the first- and second-order terms are 1/ρ² and 1/ρ times larger than the third. Could a tiny error in "they vanish" spoil it?** Check each line, on a network with 19 parameters that fits five points exactly.

# %%
from samviz.claims.subjects import interpolating
from samviz.dynamics import gradient_flow_limit
from samviz.geometry import normal_space, third_derivative

network, x = interpolating()  # a point of Γ, (19,)
space = normal_space(network, x)
v1 = space.vectors[:, :1]  # (1, 1, 19)
second, third = network.hvp(x[None])(v1), third_derivative(network, x, v1)

# %%
# NBVAL_CHECK_OUTPUT
print("what is left after the third-order term, over ρ³")
for rho in (0.1, 0.05, 0.025):
    slope = network.gradient(x + rho * v1[0])[1]
    left = slope - rho * second[0] - rho**2 / 2 * third[0]
    print(f"  ρ = {rho:<5}: {left.norm() / rho**3:.2f}")

# %%
# NBVAL_CHECK_OUTPUT
import torch

off = torch.tensor([0.6, 0.9, 0.1, 0.1], dtype=torch.float64)
way = valley().gradient(off[None])[1][0]
ends = gradient_flow_limit(valley(), torch.stack((off + 0.001 * way, off - 0.001 * way))).x
print(f"∂Φ ∇L = 0 beside Γ: {(ends[0] - ends[1]).norm() / (0.002 * way.norm()) < 1e-6}")
print(f"‖∇²L v₁‖ = {second.norm():.2f} on Γ, its tangent part below 1e-12: {space.tangent(second).norm() < 1e-12}")

# %%
# NBVAL_CHECK_OUTPUT
drift = space.tangent(third)[0, 0]  # ∂Φ ∇³L[v₁, v₁]
step = 1e-4 * drift / drift.norm()
sharper, flatter = (normal_space(network, point).values[0, 0] for point in (x + step, x - step))
print(f"slope of λ₁ along it: predicted {drift.norm():.4f}, by differences of λ₁ {(sharper - flatter) / 2e-4:.4f}")

# %% [markdown]
# And all of it at once: one SAM step from Γ along $v_1$, followed by gradient flow back to Γ. Its shadow must move by $-\tfrac12\eta\rho^2\,\partial\Phi\nabla\lambda_1$, as η and ρ go to 0.

# %%
# NBVAL_CHECK_OUTPUT
for lr, rho in ((0.1, 0.02), (0.05, 0.01), (0.025, 0.005)):
    slope = network.gradient(x + rho * v1[0])[1][0]
    moved = gradient_flow_limit(network, x - lr * slope, tol=1e-12).x[0] - x
    predicted = -lr * rho**2 / 2 * drift
    print(f"η = {lr:<5} ρ = {rho:<5} move over prediction: {moved @ predicted / predicted.norm() ** 2:.2f}")

# %% [markdown]
# The excess of this single step from rest is $\eta\lambda_1/2$, with λ₁ = 3.94, and vanishes with η; once the iterate bounces it is the factor $(2/(2-\eta\lambda_1))^2$ of section 2. The move itself is some $10^{-6}$ to $10^{-5}$ long: hence $1/(\eta\rho^2)$ steps.
#
# With λ₁ known on the way, everything else follows: $R_\mathrm{Max}(x(t))=\rho^2\lambda_1(X(\tau))/2$ up to $O(\eta\rho^2\ln(1/\rho))$ (Corollary 4.6).
#
# ## What to take away
#
# 1. SAM's time on Γ is τ = ηρ²t. The clock is set by ρ², the accuracy by η.
# 2. The first two orders of the Taylor expansion cannot move the shadow on Γ. The third does, and it is a gradient of λ₁ because the perturbation points along $v_1$.
# 3. A finite η makes SAM faster than Eq. 7 by $(2/(2-\eta\lambda_1))^2$.
#
# ## Quiz
#
# Four questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("flow")

# %% [markdown]
# Next: [05_one_sample_at_a_time](05_one_sample_at_a_time.ipynb): why the alignment comes for free there, and why the trace takes the place of λ₁.
