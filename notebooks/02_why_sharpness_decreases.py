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
# # Why λ₁ decreases
#
# **16 minutes.** In notebook [01](01_alignment.ipynb), the gradient ∇L at SAM's iterates turned to $v_1$ and changed its sign at every step. Two such steps cancel, so one could expect that nothing happens. The goal of this notebook is to see what remains, and why it lowers λ₁.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. How does ρ change the drift?
#
# The example is the valley of the paper's Figure 1, $L=F_1x_3^2+F_2x_4^2$ with $F_1=x_1^2+6x_2^2+8$ and a smaller $F_2$ (notebook 03 gives it). Its minimizers are the floor Γ, where $x_3=x_4=0$. On the floor $\lambda_1=2F_1$, with $v_1$ along $x_3$, so λ₁ is smallest at $(x_1,x_2)=(0,0)$.
#
# **Predict**: with ρ = 0.2, SAM lowers λ₁ from 21 to 18 in 201 steps. How many steps does it take with ρ = 0.1?

# %%
from samviz.panels import flow_panel

panel = flow_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# - There are two phases. In phase I SAM descends to the floor (bottom right). The dotted line marks where its gradient has become as small as on the 2-cycle, up to a factor of 2. The distance falls until about step 50, because its part along $x_4$, where the curvature is small, decays more slowly. In phase II it stays at a small distance from the floor and drifts along it, and λ₁ falls.
# - With half of ρ, λ₁ falls below 18 at step 809 in place of 201: it takes four times as many steps. The path on the floor is the same, and only the speed differs.
# - The dashed curves come from an equation (Eq. 7, section 3) that does not contain the oscillation at all. From the starting point alone it predicts the whole drift on the floor.
#
# </details>
#
# ## 2. Why the oscillation lowers λ₁
#
# Let $u=\nabla L/\lVert\nabla L\rVert$ be the direction of the gradient. Near Γ it is $v_1$ and $-v_1$ in turn (notebook 01). Let $\Phi(x)$ be the point of Γ to which *gradient flow*, that is, gradient descent with infinitely small steps, leads from $x$. Its derivative $\partial\Phi$ is, on Γ, the orthogonal projection on the directions along Γ. Let $\nabla^3L[u,u]$ be the second derivative of $\nabla L$ along $u$.
#
# 1. By Taylor's theorem, SAM's gradient is $\;\nabla L(x+\rho u)=\nabla L(x)+\rho\,\nabla^2L(x)\,u+\tfrac12\rho^2\,\nabla^3L(x)[u,u]+O(\rho^3)$.
# 2. The first two terms point along $u$, since $\nabla^2L\,v_1=\lambda_1v_1$. They change their sign with $u$, so two steps cancel: at the order ρ the oscillation has mean zero. (Even if $u$ is not exactly $\pm v_1$, these two terms do not move SAM along Γ. The first does not, because all points of a path of gradient flow have the same end point, so $\partial\Phi\,\nabla L=0$. The second does not, because on Γ every vector $\nabla^2L\,w$ is normal to Γ, so $\partial\Phi\,\nabla^2L=0$.)
# 3. The third term contains $u$ twice. It is the same for $v_1$ and $-v_1$, so it adds up: each step drifts along Γ by $-\tfrac12\eta\rho^2\,\partial\Phi\,\nabla^3L[v_1,v_1]$.
# 4. And $\nabla^3L[v_1,v_1]=\nabla\lambda_1$: if $\lambda_1=v_1^\top\nabla^2L\,v_1$ is differentiated, the two terms with the change $dv_1$ of $v_1$ add up to $2\lambda_1\,v_1^\top dv_1=0$, because $v_1$ keeps the length 1. Only the derivative of $\nabla^2L$ remains.
# 5. The drift is therefore $-\tfrac12\eta\rho^2\,\partial\Phi\,\nabla\lambda_1$, a step of gradient descent on λ₁ along Γ. Along it, λ₁ falls by $\tfrac12\eta\rho^2\,\lVert\partial\Phi\,\nabla\lambda_1\rVert^2$ per step.
#
# Check the last two lines on a network with 19 parameters that fits five points exactly, so that `x` lies on Γ. If $\partial\Phi\,\nabla\lambda_1$ is the vector `projected`, the slope of λ₁ along it must be its length:

# %%
from samviz.claims.subjects import interpolating
from samviz.geometry import normal_space, third_derivative

network, x = interpolating()  # a point of Γ, (19,)
space = normal_space(network, x)
v1 = space.vectors[:, :1]  # (1, 1, 19)
projected = space.tangent(third_derivative(network, x, v1))[0, 0]  # ∂Φ ∇³L[v₁, v₁]

# %%
# NBVAL_CHECK_OUTPUT
step = 1e-4 * projected / projected.norm()
sharper, flatter = (normal_space(network, point).values[0, 0] for point in (x + step, x - step))
print(f"slope of λ₁ along ∂Φ∇³L[v₁,v₁]: predicted {projected.norm():.4f}, measured {(sharper - flatter) / 2e-4:.4f}")

# %% [markdown]
# ## 3. The theorem
#
# Lines 1 to 5 are the idea. The theorem states how far it holds:
#
# > **Theorem 4.5** (Wen, Ma & Li 2023). *Conditions*:
# >
# > - Γ is a manifold of minimizers of $L$, on which $\nabla^2L$ has constant rank;
# > - $L$ is four times continuously differentiable;
# > - $\lambda_1>\lambda_2$ at all points of Γ that the flow of Eq. 7 (below) passes;
# > - $\eta\ln(1/\rho)$ and $\rho/\eta$ are small;
# > - SAM starts in the basin of Γ, from which *gradient flow*, gradient descent with infinitely small steps, leads to Γ.
# >
# > *Phase I*: within $O(\ln(1/\rho)/\eta)$ steps SAM follows gradient flow of $L$ to a distance of $O(\eta\rho)$ from Γ.
# >
# > *Phase II*: for $\Theta(1/(\eta\rho^2))$ steps it follows, with an error of $O(\eta\ln(1/\rho))$, the flow on Γ
# >
# > $$\frac{dX}{d\tau}=-\tfrac12\,\partial\Phi(X)\,\nabla\lambda_1(X),\qquad\tau=\eta\rho^2t,\qquad\text{(Eq. 7)}$$
# >
# > which starts at $X(0)=\Phi(x(0))$. Here $t$ counts the steps.
# >
# > *Alignment*: in phase II the angle between $\nabla L$ and $\pm v_1$ is $O(\rho)$.
#
# The condition on ρ/η does not hold in the panel, where ρ/η is 5 to 80, and still the prediction is good if η is small (section 4). The reason is that the valley's loss is exactly quadratic in $x_3$ and $x_4$. The update of $x_3/\rho$ and $x_4/\rho$ does not contain ρ, if the slow change of $F_1$ and $F_2$ is neglected. So the oscillation has the same form for every ρ, and a large ρ/η does not disturb the alignment (our remark). On a network the condition matters; notebook [06](06_where_the_theory_ends.ipynb) shows what fails without each condition.
#
# ## 4. Try to break it
#
# In the panel, set ρ = 0.1 and η = 0.02. **Which is ahead, SAM or Eq. 7, and by how much?** Then set ρ = 0.2 and η = 0.0025.
#
# <details><summary>What you see</summary>
#
# SAM is ahead: at η = 0.02, λ₁ falls below 18 at step 142, and Eq. 7 predicts step 224. At η = 0.0025 it is step 433 against 449. The smaller η is, the better the prediction. The change comes from η: on the valley ρ changes only the number of steps, as in section 1.
#
# </details>
#
# Lines 1 to 3 of section 2 expand around $x$ and neglect that $x$ is off Γ. Expand around $\Phi(x)$ instead: $x$ is at the distance $a=\eta\rho\lambda_1/(2-\eta\lambda_1)$ from it (notebook 01), so SAM's gradient comes from the distance $a+\rho=2\rho/(2-\eta\lambda_1)$, and the drift is quadratic in this distance. It therefore exceeds that of Eq. 7 by the factor $(2/(2-\eta\lambda_1))^2$ (our derivation; the paper states the limit η → 0, where the factor is 1. Bartlett, Long & Bousquet (2022) treat the same drift and may state this factor; we could not compare their text). The measured ratio of the two drifts agrees:

# %%
from samviz.dynamics import Run
from samviz.problems import valley

# %%
# NBVAL_CHECK_OUTPUT
for lr in (0.02, 0.01, 0.005):
    run = Run(valley(), "sam", lr=lr, rho=0.01, x0=[0.6, 0.0, lr * 0.08, 0.0], device="cpu")
    run.step(400)
    before, sharpness = run.x[0, 0].item(), 2 * (0.6**2 + 8)
    run.step(400)
    ratio = (before - run.x[0, 0].item()) / (400 * lr * 0.01**2) / (2 * before)
    print(f"η = {lr}: predicted {(2 / (2 - lr * sharpness)) ** 2:.3f}, measured {ratio:.3f}")

# %% [markdown]
# **Conclusion.** An oscillation along $v_1$ has mean zero at the order ρ. At the order ρ², through the third derivative of $L$, SAM's gradient contains the gradient of the curvature $v_1^\top\nabla^2L\,v_1$, which is $\nabla\lambda_1$ for both signs of $v_1$. What remains is a descent on λ₁ along Γ, so full-batch SAM minimizes λ₁, and with it the worst-direction sharpness, which on Γ is $\tfrac12\rho^2\lambda_1$ for a small ρ. On SAM's path the gradient points along $v_1$, so the worst and the ascent direction agree there, and so do both sharpnesses. At other points next to Γ they differ. Next: [03_three_sharpnesses](03_three_sharpnesses.ipynb) shows which point of Γ each of the three notions of sharpness prefers.
#
# ## Exercises
#
# **1.** On the floor of the valley λ₁ is $2(x_1^2+6x_2^2+8)$. Solve Eq. 7: return $(x_1,x_2)$ at the time τ.

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
# **2.** How many steps does SAM take to the time τ?


# %%
def steps(tau, lr, rho):
    return ...  # the number of steps


check("steps", steps)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def steps(tau, lr, rho):
#     return tau / (lr * rho**2)
# ```
#
# </details>
#
# **3.** SAM is in phase II above the point $(x_1,x_2)$ of the floor. By how much does λ₁ fall in one step, to leading order?


# %%
def decrease(x1, x2, lr, rho):
    return ...  # your formula


check("decrease", decrease)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def decrease(x1, x2, lr, rho):
#     return lr * rho**2 / 2 * ((4 * x1) ** 2 + (24 * x2) ** 2)
# ```
#
# </details>
#
# **4.** SAM's gradient is ∇L + ρ∇²L u + ½ρ²∇³L[u,u], up to smaller terms. Which of these three terms, if any, moves SAM along Γ in phase II, and why not the others?

# %%
check("drift_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Four questions. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("flow")

# %% [markdown]
# ## Going deeper
#
# ### Each line, checked by numbers
#
# **Line 1.** What is left after the third term, which is of order ρ², should be proportional to ρ³:

# %%
# NBVAL_CHECK_OUTPUT
second, third = network.hvp(x[None])(v1), third_derivative(network, x, v1)
for rho in (0.1, 0.05, 0.025):
    slope = network.gradient(x + rho * v1[0])[1]
    left = slope - rho * second[0] - rho**2 / 2 * third[0]
    print(f"ρ = {rho:<5}: {left.norm() / rho**3:.2f} ρ³")

# %% [markdown]
# **Line 2, with Φ.** The theorem does not average over two steps. It follows Φ(x), the point of Γ to which gradient flow from $x$ leads. $\partial\Phi$ is the derivative of Φ, and on Γ it is the orthogonal projection on the tangent space of Γ (Lemma 3.5). Then each of the first two terms vanishes by itself. The first one does so everywhere: gradient flow does not change where it ends, so $\partial\Phi\,\nabla L=0$ (Lemma 3.2). The second one does so *on* Γ, because $\nabla^2L$ maps into the directions normal to Γ:

# %%
import torch

from samviz.dynamics import gradient_flow_limit

off = torch.tensor([0.6, 0.9, 0.1, 0.1], dtype=torch.float64)
uphill = valley().gradient(off[None])[1][0]
ends = gradient_flow_limit(valley(), torch.stack((off + 0.001 * uphill, off - 0.001 * uphill))).x

# %%
# NBVAL_CHECK_OUTPUT
print(f"∂Φ ∇L = 0 off Γ: {(ends[0] - ends[1]).norm() / (0.002 * uphill.norm()) < 1e-6}")
print(f"‖∇²L v₁‖ = {second.norm():.2f} on Γ, its tangent part below 1e-12: {space.tangent(second).norm() < 1e-12}")

# %% [markdown]
# SAM is not on Γ, but at a distance of $O(\eta\rho)$. There $\partial\Phi\,\nabla^2L\,u$ is of the order of this distance, so the second term moves Φ by $O(\eta\rho\cdot\eta\rho)=O(\eta^2\rho^2)$ per step. This is smaller than the drift $\tfrac12\eta\rho^2$ by a factor of η only: it is the reason why η has to be small. The factor of section 4 contains all such terms on the 2-cycle.
#
# **All lines at once.** Take one SAM step from Γ along $v_1$, and follow gradient flow back to Γ. The point of Γ must have moved by $-\tfrac12\eta\rho^2\,\partial\Phi\nabla\lambda_1$ as η and ρ go to 0:

# %%
# NBVAL_CHECK_OUTPUT
for lr, rho in ((0.1, 0.02), (0.05, 0.01), (0.025, 0.005)):
    slope = network.gradient(x + rho * v1[0])[1][0]
    displacement = gradient_flow_limit(network, x - lr * slope, tol=1e-12).x[0] - x
    predicted = -lr * rho**2 / 2 * projected
    print(f"η = {lr:<5} ρ = {rho:<5} move over prediction: {displacement @ predicted / predicted.norm() ** 2:.2f}")

# %% [markdown]
# The excess of this first step is about $\eta\lambda_1/2$, with $\lambda_1=3.94$. The move is only between $6\cdot10^{-7}$ and $5\cdot10^{-5}$ long, which is why phase II takes about $1/(\eta\rho^2)$ steps.
#
# ### The distance from the flow
#
# Theorem 4.5 bounds the distance between Φ(x(t)) and X(τ) by $O(\eta\ln(1/\rho))$. For 1-SAM, which uses one sample per step (notebook [05](05_one_sample_at_a_time.ipynb)), the flow descends on the trace (Eq. 18), and the bound is $\tilde O(\sqrt\eta+\rho)$ (Theorem 5.4), because the samples are drawn at random. We measure the full-batch distance at τ = ½:


# %%
def distance_from_flow(lr, rho):
    run = Run(valley(), "sam", lr, rho, x0=[0.6, 0.6, 0.3, 0.05], device="cpu")
    start = gradient_flow_limit(valley(), run.x).x[0]
    run.step(round(0.5 / (lr * rho**2)))
    flow = valley().limiting_flow(start, torch.tensor([0.5], dtype=torch.float64))[0]
    return (gradient_flow_limit(valley(), run.x).x[0, :2] - flow).norm().item()


# %%
# NBVAL_CHECK_OUTPUT
for rho in (0.2, 0.1):
    distances = [distance_from_flow(lr, rho) for lr in (0.03, 0.015, 0.0075)]
    print(f"ρ = {rho}: at η = 0.03, 0.015, 0.0075 the distance is", ", ".join(f"{d:.4f}" for d in distances))

# %% [markdown]
# The distance halves with η, and it hardly depends on ρ. A smaller ρ takes more steps, but it does not follow the flow more closely.
#
# ### What follows for the worst-direction sharpness
#
# The worst-direction sharpness $R_\mathrm{Max}$ is the largest increase of the loss within the distance ρ; notebook [03](03_three_sharpnesses.ipynb) measures it.
#
# > **Corollary 4.6** (Wen, Ma & Li 2023). Under the conditions of Theorem 4.5, $R_\mathrm{Max}(x(t))=\rho^2\lambda_1(X(\tau))/2+O(\eta\rho^2\ln(1/\rho))$ in phase II.
# >
# > **Corollary 4.7.** If the flow converges to a point of Γ where λ₁ is smallest, then SAM minimizes the worst-direction sharpness, up to errors that vanish with η and ρ.
#
# The sharpness falls by $O(\eta\rho^2)$ per step, which is linear in η. Normalized gradient descent, $x\leftarrow x-\eta\nabla L/\lVert\nabla L\rVert$, also oscillates along $v_1$ and lowers λ₁, but only by $O(\eta^2)$ per step (Arora, Li & Panigrahi 2022).
