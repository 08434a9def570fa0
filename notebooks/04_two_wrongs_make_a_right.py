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
# **16 minutes.** Goal: explain why SAM minimizes the sharpness of the *worst* direction although it uses the *ascent* direction. [03](03_three_sharpnesses.ipynb) ended with this puzzle. The answer matters in practice: would SAM be better with the exact gradient of $L(x+\rho\nabla L/\lVert\nabla L\rVert)$?

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. The square and the needle
#
# SAM was meant to descend on $L_\mathrm{Max}(x)=\max_{\lVert v\rVert\le1}L(x+\rho v)$, where $L$ is the training loss and ρ the perturbation radius. It makes two approximations. It replaces the worst direction $v$ by the **ascent direction** $u=\nabla L/\lVert\nabla L\rVert$, which gives the loss $L_\mathrm{Asc}(x)=L(x+\rho u)$. And it **drops the derivative** of this direction when it computes the gradient.
#
# The square has a corner for each combination. The rows are the direction (worst, ascent), and the columns say whether its derivative is kept or dropped. Each bowl is steepest along $v_1$, where its curvature is λ₁, and flattest along $v_M$, where it is λ_M, and its needle shows the direction of $\nabla L$. **Predict**: in which direction does the needle of exact $L_\mathrm{Asc}$ (lower left) point in the end?

# %%
from samviz.panels import square_panel

square = square_panel()
square

# %% [markdown]
# <details><summary>What you see</summary>
#
# Three needles end at $v_1$; only that of exact $L_\mathrm{Asc}$ ends near $v_M$. The bowls are fixed, but on a valley the eigenvalues vary along the floor. There, as in notebook [02](02_why_sharpness_decreases.ipynb), the gradient alternates between $v$ and $-v$ for some eigenvector $v$, and the drift lowers the eigenvalue of this $v$. So λ₁ falls in three corners, and λ_M in the lower left one. (Exact $L_\mathrm{Asc}$ has one more term, which might change this. Section 3 shows by runs that λ_M still falls.) Move the step slider from left to right. First every needle turns to $v_M$, because descent shrinks the steep component faster (phase I of notebook 02). At step 735 SAM's needle swings to $v_1$ within a few steps. The needle of $L_\mathrm{Asc}$ follows, and at step 821 it is thrown back. That of $L_\mathrm{Max}$ turns slowly.
#
# The first approximation alone gives the wrong sharpness. The second one alone changes nothing: the two upper corners are equal. Both together give SAM, and the right sharpness.
#
# </details>
#
# ## 2. Why
#
# Near a minimum the loss is $L=\tfrac12x^\top Ax$ with a symmetric matrix $A$, whose eigenvalues are $\lambda_1>\dots\ge\lambda_M>0$. Then $\nabla L=Ax$ and $u=Ax/\lVert Ax\rVert$, and
#
# $$\begin{aligned}
# L_\mathrm{Asc}(x)&=L(x)+\rho\lVert Ax\rVert+\tfrac12\rho^2\,u^\top Au,\\
# \nabla\big(L+\rho\lVert Ax\rVert\big)&=A(x+\rho u)=\nabla L(x+\rho u),\ \text{which is exactly SAM's gradient},\\
# \nabla\big(\tfrac12\rho^2u^\top Au\big)&\ \text{is the dropped term: it turns } u \text{ to } v_M,\ \text{where } u^\top Au \text{ is smallest}.
# \end{aligned}$$
#
# SAM ends in a 2-cycle: it jumps between $a\,v_1$ and $-a\,v_1$ with $a=\eta\rho\lambda_1/(2-\eta\lambda_1)$ (Theorem 4.8, notebook [01](01_alignment.ipynb)). There $u=\pm v_1$, where $u^\top Au$ is largest and the dropped term is zero. **SAM and exact $L_\mathrm{Asc}$ have the same gradient there, but for a small η opposite stability** (section 4 says how small). A step multiplies a small component along another eigenvector $v_j$ by (our result)
#
# $$\mu_\mathrm{SAM}=1-\eta\lambda_j-\Big(\frac{\lambda_j}{\lambda_1}\Big)^2(2-\eta\lambda_1),\qquad
# \mu_\mathrm{Asc}=\mu_\mathrm{SAM}+\Big(\frac{\lambda_j}{\lambda_1}\Big)^2\frac{(2-\eta\lambda_1)^2(\lambda_1-\lambda_j)}{\eta\lambda_1^2}.$$
#
# **Question**: the learning rate η becomes ten times smaller. What happens to the two factors?

# %%
from samviz import Run, quadratic

bowl = quadratic([3.0, 1.0])  # λ₁ = 3, λ_M = 1

# %%
# NBVAL_CHECK_OUTPUT
for lr in (0.01, 0.001, 0.0001):
    cycle = lr * 0.1 * 3 / (2 - lr * 3)  # Theorem 4.8, with ρ = 0.1
    for rule in ("sam", "ascent"):
        run = Run(bowl, rule, lr, rho=0.1, x0=[cycle, 1e-6 * cycle], device="cpu")
        run.step()
        print(f"η = {lr:<6} {rule:6}: factor {run.x[0, 1].item() / (1e-6 * cycle):8.3f}")

# %% [markdown]
# <details><summary>What you see</summary>
#
# SAM's factor stays at 0.77–0.78: the component decays, so $v_1$ is stable. That of exact $L_\mathrm{Asc}$ is 10, 99 and 988: it grows like $1/\eta$, so $v_1$ repels the needle. With $v_1$ and $v_M$ exchanged, both factors are below −1, so $v_M$ itself is unstable for both. SAM has no term that brings its needle back. Under exact $L_\mathrm{Asc}$ the dropped term turns the needle towards $v_M$, but close to $v_M$ it turns it too far. So the needle settles in a cycle *near* $v_M$, at an angle to $v_M$ that vanishes with η. (The command `samviz verify dropped_term_decides_stability` tests all of this.)
#
# </details>
#
# Why does dropping the derivative change nothing for $L_\mathrm{Max}$? At the maximizer $v$ the gradient $\nabla L(x+\rho v)$ is parallel to $v$; otherwise a turn of $v$ would increase $L$ further. When $x$ moves, the unit vector $v$ can only turn, so its derivative is perpendicular to $v$, and therefore to $\nabla L(x+\rho v)$. It contributes nothing (this is the *envelope theorem*).
#
# ## 3. What follows on the floor of the valley
#
# [03](03_three_sharpnesses.ipynb) introduced the valley $L=F_1x_3^2+F_2x_4^2$ with $F_1=x_1^2+6x_2^2+8$ and $F_2=4(1-x_1)^2+(1-x_2)^2+1$. On its floor $x_3=x_4=0$ the eigenvalues are $\lambda_1=2F_1$ and $\lambda_M=2F_2$. The smallest λ₁, λ_M and trace are at three different places.

# %%
from samviz.panels import ablation_panel

floor = ablation_panel()
floor

# %% [markdown]
# <details><summary>What you see</summary>
#
# | method | direction | derivative | ends at | minimizes |
# |---|---|---|---|---|
# | descent on exact $L_\mathrm{Max}$ | worst | kept | (0, 0) | λ₁ |
# | descent on exact $L_\mathrm{Asc}$ | ascent | kept | (0.89, 0.22), (0.97, 0.55), (0.99, 0.81) for η = 10⁻³, 10⁻⁴, 10⁻⁵ | λ_M, as η → 0 |
# | SAM | ascent | dropped | (0, 0) | λ₁ |
# | descent on exact $L_\mathrm{Avg}$ | average | | (0.8, 1/7) | trace |
# | gradient descent on $L$ | | | where it met the floor | nothing |
#
# $L_\mathrm{Avg}=L+R_\mathrm{Avg}$ is the mean loss at the distance ρ. The gradient flow of λ_M on the floor ends at (1, 1). Exact $L_\mathrm{Asc}$ approaches this point slowly: a part of its gradient continues to oscillate along $v_1$, so that its needle keeps an angle to $v_M$, which decreases only like $\eta^{1/4}$ (our result). Under SAM the steep side becomes flatter and the other side becomes *steeper*: λ_M rises from 6.2 to 12.
#
# </details>
#
# ## 4. Try to break it: a larger step
#
# The term that makes $v_1$ unstable in $\mu_\mathrm{Asc}$ is proportional to $(2-\eta\lambda_1)^2/\eta$, so it becomes small for a large η. **Question**: at which η does exact $L_\mathrm{Asc}$ stop differing from SAM? Set η in the square to 0.05 and then to 0.2, and compare with the numbers below.

# %%
# NBVAL_CHECK_OUTPUT
from samviz.claims.ablation import angle_to_top

for lr in (0.001, 0.01, 0.05, 0.2):
    run = Run(bowl, "ascent", lr, rho=0.1, x0=[0.06, 0.1], device="cpu", trail=100)
    run.step(20_000)
    angles = [float(angle_to_top(x[0].numpy(), (3.0, 1.0))) for x in run.trail]
    print(f"η = {lr:<5}: angle of ∇L to v₁ from {min(angles):4.1f}° to {max(angles):4.1f}°")

# %% [markdown]
# <details><summary>What you see</summary>
#
# At η = 0.001 and 0.01 the angle is 77° and 64°; $v_M$ is at 90°. At η = 0.05 the needle never settles: neither $v_1$ nor the cycle near $v_M$ is stable. For $\lambda_M/\lambda_1=1/3$ the factor $\mu_\mathrm{Asc}$ is $2/3+1/3=1$ at $\eta\lambda_1=0.5$, and smaller beyond. With λ₁ = 3 this is η = 1/6. So at η = 0.2, where $\eta\lambda_1=0.6$, the needle stays at $v_1$, as SAM's needle does. On the valley, where this ratio is different, η = 0.03 takes exact $L_\mathrm{Asc}$ to (0, 0). So "$L_\mathrm{Asc}$ minimizes $\lambda_M$" is a statement about small steps.
#
# </details>
#
# **Conclusion.** The ascent direction replaces λ₁ by λ_M: as an approximation of $L_\mathrm{Max}$ it is wrong. Dropping the derivative is exact for $L_\mathrm{Max}$ and wrong for $L_\mathrm{Asc}$: next to Γ it removes the only term that drives the gradient away from $v_1$ and keeps it near $v_M$. Both together make $v_1$ stable, and SAM minimizes λ₁, the sharpness that it was meant for. All of this was for the full batch: every step had the same Hessian. The next notebook, [05_one_sample_at_a_time](05_one_sample_at_a_time.ipynb), shows what the same rule does with one sample per step.
#
# ## Exercises
#
# **1.** Write the exact gradient of $L_\mathrm{Asc}$ for any loss, with the term that SAM drops. `gradient` and `hessian` are functions of a numpy vector `x`. Hint: the chain rule, because $u$ depends on $x$, too.


# %%
from samviz.course import check


def ascent_gradient(gradient, hessian, x, rho):
    return ...  # your formula


check("ascent_gradient", ascent_gradient)

# %% [markdown]
# <details><summary>Solution</summary>
#
# The derivative of $u$ is $(I-uu^\top)\nabla^2L/\lVert\nabla L\rVert$, so with $x^+=x+\rho u$ we get $\nabla L_\mathrm{Asc}=\nabla L(x^+)+\frac{\rho}{\lVert\nabla L\rVert}\nabla^2L\,(I-uu^\top)\nabla L(x^+)$.
#
# ```python
# import numpy as np
#
#
# def ascent_gradient(gradient, hessian, x, rho):
#     g = gradient(x)
#     u = g / np.linalg.norm(g)
#     perturbed = gradient(x + rho * u)
#     return perturbed + rho / np.linalg.norm(g) * hessian(x) @ (perturbed - u * (u @ perturbed))
# ```
#
# </details>
#
# **2.** Section 2 gives the factor $\mu_\mathrm{Asc}$ near the 2-cycle along $v_1$. For two eigenvalues, $\lambda_1$ and $\lambda_2$: below which η does exact $L_\mathrm{Asc}$ leave $v_1$?


# %%
def largest_rate(top, second):
    return ...  # η, with top = λ₁ and second = λ₂


check("largest_rate", largest_rate)

# %% [markdown]
# <details><summary>Solution</summary>
#
# The factor is large for a small η, and $v_1$ becomes stable where $\mu_\mathrm{Asc}=1$. With $s=\eta\lambda_1$ and $r=\lambda_2/\lambda_1$ this is $r(1-r)(2-s)^2=s^2+rs(2-s)$, a quadratic equation: $(1-r)^2s^2+2r(3-2r)s-4r(1-r)=0$. (A numerical solution is as good.)
#
# ```python
# def largest_rate(top, second):
#     r = second / top
#     b = r * (3 - 2 * r)
#     s = ((b**2 + 4 * r * (1 - r) ** 3) ** 0.5 - b) / (1 - r) ** 2
#     return s / top
# ```
#
# </details>
#
# **3.** Answer in one or two sentences between the quotation marks: On SAM's 2-cycle the dropped term is zero. Why does it matter nevertheless whether it is dropped?

# %%
check("two_wrongs_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Choose an answer, and read why it is right or wrong. Nothing is sent or stored outside this notebook.

# %%
from samviz.lab import quiz

quiz("two_wrongs")

# %% [markdown]
# ## Going deeper
#
# ### How large is the dropped term?
#
# The answer depends on the trajectory. **Question**: how large is the dropped term, compared with the gradient that is kept, along SAM and along descent on exact $L_\mathrm{Asc}$?

# %%
from samviz.claims.ablation import dropped_over_kept
from samviz.problems import valley

# %%
# NBVAL_CHECK_OUTPUT
run, ratios = Run(valley(), "sam", 0.02, rho=0.1, x0=[0.3, 0.6, 0.01, 0.1], device="cpu"), {}
for t in range(401):
    ratios[t] = dropped_over_kept(run)
    run.step()
print("SAM:", ", ".join(f"{ratios[t]:.1g} at step {t}" for t in (0, 2, 10, 20, 400)))

# %%
# NBVAL_CHECK_OUTPUT
run = Run(valley(), "ascent", 0.002, rho=0.1, x0=[0.3, 0.6, 0.01, 0.1], device="cpu")
total = 0.0
for _ in range(1000):
    run.step()
    total += dropped_over_kept(run) / 1000
print(f"exact L_Asc: {total:.0f} on average over 1000 steps")

# %% [markdown]
# <details><summary>What you see</summary>
#
# In phase I the dropped term is as large as the gradient that is kept. In phase II of SAM it vanishes next to it: the gradient is along $v_1$, and SAM's gradient equals $\nabla L_\mathrm{Asc}$ to better than 1 in 1,000. Along exact $L_\mathrm{Asc}$ it dominates. So SAM does not avoid the term because it is small. The term is small because SAM has aligned the gradient, and SAM aligns the gradient because it drops the term.
#
# </details>
#
# If the gradient makes a small angle θ (in radians) with $v_1$ on the cycle of a quadratic, then ‖dropped‖/‖kept‖ $=\theta\,(2-\eta\lambda_1)^2\lambda_j(\lambda_1-\lambda_j)/(2\eta\lambda_1^3)$ (our result).
#
# ### In which direction does each method drift?
#
# The cosine of each method's drift at (0.5, 0.25) with the descent direction of each curvature. The prediction is +1.00 for the curvature that the method minimizes.

# %%
# NBVAL_CHECK_OUTPUT
from samviz.claims.ablation import ablation

for row in ablation(quick=True, lr_ascent=2.5e-4)[:4]:
    cosines = ", ".join(f"with −∇{name}: {cosine:+.2f}" for name, cosine in row.cosines.items()).replace("-", "−")
    print(f"{row.method:18} lowers {row.minimizes:4}cos {cosines}")

# %% [markdown]
# ### What an explicit bias does not promise
#
# *Among minimizers*, $L_\mathrm{Asc}$ prefers the smallest λ_M (Theorem 4.2). A run of gradient descent on it with a finite η ends in a cycle: $x_3$ changes its sign in each step, and the other coordinates are at rest. **Question**: η becomes smaller, or ρ becomes larger. Does the end come closer to (1, 1)?

# %%
# NBVAL_CHECK_OUTPUT
for lr, rho in ((0.002, 1.0), (0.001, 1.0), (0.0005, 1.0), (0.001, 0.3)):
    run = Run(valley(), "ascent", lr, rho, x0=[0.8, 0.3, 0.02 * rho, 0.3 * rho], device="cpu", trail=3)
    run.step(200_000)
    at_rest = (run.trail[-1] - run.trail[-3]).abs().max() < 1e-6  # after two steps, which x₃ needs
    print(f"η = {lr}, ρ = {rho}: {(run.x[0, :2] - 1).norm():.2f} from (1, 1), at rest: {bool(at_rest)}")

# %% [markdown]
# <details><summary>What you see</summary>
#
# A smaller η brings the end closer, slowly. A larger ρ brings it closer, too, whereas for SAM on this valley a change of ρ changes only the number of steps, which is proportional to $1/(\eta\rho^2)$. An explicit bias is a statement about minimizers. The implicit bias of SAM is a statement about its steps, and it holds at the step size that is used.
#
# </details>
