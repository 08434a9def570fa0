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
# **16 minutes.** Goal: know what each of the three notions measures, and why it matters which one an optimizer minimizes. In [02](02_why_sharpness_decreases.ipynb) SAM lowered $\lambda_1$, the largest eigenvalue of the Hessian. But SAM was motivated by three notions of sharpness. If they agreed, there would be nothing left to explain.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. Where the three notions come from
#
# All three ask how much the loss $L$ can rise at a distance ρ from the parameters $x$ (a vector of $D$ numbers). They differ in the direction:
#
# | notion | where it occurs in the work on SAM (Foret et al. 2021) | sharpness $R_\rho(x)$ |
# |---|---|---|
# | worst direction | the **objective** that SAM is derived from | $R_{\mathrm{Max}}=\max_{\lVert v\rVert\le1} L(x+\rho v) - L(x)$ |
# | ascent direction | the **algorithm**, which perturbs along the gradient | $R_{\mathrm{Asc}}=L\!\left(x+\rho\,\nabla L(x)/\lVert\nabla L(x)\rVert\right) - L(x)$ |
# | average direction | the proof of the **generalization bound**, which uses Gaussian noise | $R_{\mathrm{Avg}}=\mathbb{E}_g\,L(x+\rho\,g/\lVert g\rVert) - L(x)$, with Gaussian $g$ |
#
# We write $L_\mathrm{Max}=L+R_\mathrm{Max}$, and in the same way $L_\mathrm{Asc}$ and $L_\mathrm{Avg}$.
#
# ## 2. The three directions at a minimum
#
# The bowl has its steepest direction $v_1$ along the horizontal axis. The arrows show the worst direction and the ascent direction from the black point; the ring of short lines stands for the average direction. The bowl has the curvature $\lambda_1=2$ along the horizontal axis and $\lambda_2=0.5$ along the vertical one. Now the point moves along the dotted line to the minimum. **Predict**: turn the needle to the ascent direction that you expect when it is very close.

# %%
from samviz.panels import sharpness_panel

panel = sharpness_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# The ascent direction does not turn: on a bowl $\nabla L=Hx$, with the Hessian $H$, so on a straight line to the minimum only its length changes. The worst direction turns: on the slope it is 21° from the ascent direction, and the rises differ by only 5 %; at the minimum only the curvature counts, and the worst direction is $v_1$. Exactly at the minimum the gradient is zero. At a point a tiny step $d$ away from it, the ascent direction is $Hd/\lVert Hd\rVert$. The rise along it is only half of the worst rise for the $d$ that is shown, and only a quarter for a $d$ close to the vertical axis. The average does not depend on the direction of approach.
#
# </details>
#
# ## 3. Three limits
#
# Let Γ be the set of minimizers, $x^*$ a point of Γ, and $H=\nabla^2L(x^*)$ the Hessian there, with eigenvalues $\lambda_1\ge\lambda_2\ge\dots$. $M$ of them are not zero, so $\lambda_M$ is the smallest non-zero one. Tr is the sum of all eigenvalues. Since $\nabla L(x^*)=0$, Taylor's theorem gives for every unit vector $v$
#
# $$\begin{aligned}
# L(x^*+\rho v)-L(x^*) &= \tfrac12\rho^2\,v^\top Hv+O(\rho^3),\\
# \text{worst:}\quad \max_v v^\top Hv&=\lambda_1,\\
# \text{average:}\quad \mathbb{E}\,v^\top Hv&=\operatorname{Tr}/D,\quad\text{since } \mathbb{E}\,vv^\top=I/D,\\
# \text{ascent from } x^*+d:\quad \nabla L\approx Hd,\ v=\tfrac{Hd}{\lVert Hd\rVert}&\ \text{ is orthogonal to the eigenvectors of eigenvalue } 0,\text{ so } v^\top Hv\ge\lambda_M,\text{ with equality for } d\parallel v_M ,
# \end{aligned}$$
#
# where $v_M$ is the unit eigenvector of $\lambda_M$.
#
# > **Theorem 4.2** (Wen, Ma & Li 2023). *Assume* that $L$ is four times continuously differentiable, that Γ is a manifold of minimizers of dimension $D-M$, and that the Hessian has rank $M$ on Γ (Assumption 3.3). *Then*, as ρ → 0, $R_\rho/\rho^2$ at $x^*$ has the limits $\lambda_1/2$ (worst) and $\operatorname{Tr}/(2D)$ (average). At $x^*$ itself the ascent direction is not defined. Therefore one lets $x$ tend to $x^*$ at a fixed ρ, and takes the infimum of $R_\mathrm{Asc}/\rho^2$ over all such approaches (Definition 4.1). As ρ → 0, this infimum tends to $\lambda_M/2$.

# %%
import torch

from samviz.geometry import ascent_direction_sharpness, average_direction_sharpness, worst_direction_sharpness
from samviz.problems import quadratic, valley

bowl, rho = quadratic([2.0, 0.5]), 0.1  # λ₁ = 2, λ_M = 0.5, Tr = 2.5, D = 2
notions = worst_direction_sharpness, ascent_direction_sharpness, average_direction_sharpness

# %% [markdown]
# ## 4. Try to break it: is it really the smallest eigenvalue?
#
# **Question**: the bowl has $\lambda_1=2$ and $\lambda_2=0.5$. What is $R_\rho/\rho^2$ for each notion at points next to the minimum, on its steep side (along $v_1$), on its flat side (along $v_2$), and diagonally between them? Write down nine numbers, or at least the three for the ascent direction.

# %%
# NBVAL_CHECK_OUTPUT
sides = [[1e-6, 0.0], [0.0, 1e-6], [1e-6, 1e-6]]  # steep side, flat side, diagonal
print("predicted: worst 1, ascent at least 0.25, average 0.625")
for R in notions:
    print(R.__name__, (R(bowl, sides, rho).value / rho**2).numpy().round(3))

# %% [markdown]
# <details><summary>What you see</summary>
#
# The ascent direction gives 1 on the steep side, 0.25 on the flat side, and 0.956 diagonally. So different points next to the same $x^*$ show every value between $\lambda_M/2$ and $\lambda_1/2$. Theorem 4.2 states the infimum, because a minimizer of $L+R_{\mathrm{Asc}}$ may lie on any side of $x^*$.
#
# </details>
#
# ## 5. Why it matters: each notion prefers another minimizer
#
# The example of the paper (Figure 1) has four parameters and the loss $L=F_1x_3^2+F_2x_4^2$. $F_1=x_1^2+6x_2^2+8$ and $F_2=4(1-x_1)^2+(1-x_2)^2+1$ are positive, so Γ is the plane $x_3=x_4=0$, the floor of a *valley*. There the Hessian has the eigenvalues $2F_1, 2F_2, 0, 0$. **Question**: at $(x_1,x_2)=(0.6, 0.9)$ we have $F_1=13.22$ and $F_2=1.65$. Which three limits do you expect?

# %%
# NBVAL_CHECK_OUTPUT
near = torch.tensor([[0.6, 0.9, 1e-8, 0.0], [0.6, 0.9, 0.0, 1e-8]])  # next to Γ along x₃, and along x₄
for R in notions:
    print(R.__name__, (R(valley(), near, 0.01).value / 0.01**2).numpy().round(2))

# %% [markdown]
# <details><summary>What you see</summary>
#
# Worst: $\lambda_1/2=F_1=13.22$ from both sides. Ascent: 13.22 or 1.65, and the infimum is $\lambda_M/2=F_2=1.65$. The two zeros do not count, because the gradient has no component along the floor. Average: $\operatorname{Tr}/(2D)=2(F_1+F_2)/8=3.72$; here the zeros count.
#
# </details>
#
# In the part of the floor that we use, $F_1>F_2$, so $\lambda_1=2F_1$ and $\lambda_M=2F_2$. λ₁ is smallest at (0, 0), $\lambda_M$ at (1, 1), and the trace $2(F_1+F_2)$ at (0.8, 1/7). Two things have to be kept apart. For a small ρ, the minimizers of $L+R_\rho$ lie near those points of Γ where the limit of $R_\rho/\rho^2$ is smallest. This is the **explicit bias** of the notion (Definition 4.3). It does not say that a run reaches a minimizer: where the steps of an algorithm lead is its **implicit bias**.
#
# **Conclusion.** The objective, the algorithm and the bound use three different notions of sharpness. They prefer three different minimizers, because their limits are $\lambda_1/2$, $\lambda_M/2$ and $\operatorname{Tr}/(2D)$. Notebook 02 showed that SAM lowers $\lambda_1$, and how. But SAM perturbs in the ascent direction, whose sharpness is smallest at (1, 1). Still SAM moves to (0, 0). How can that be? The next notebook, [04_two_wrongs_make_a_right](04_two_wrongs_make_a_right.ipynb), answers this.
#
# ## Exercises
#
# **1.** The flat directions make the average-direction sharpness small. Leave them out: let the perturbation have length ρ and a random direction in the space of the $M$ eigenvectors with a non-zero eigenvalue. What is the limit of $R/\rho^2$, given the Hessian? (Computed eigenvalues that should be 0 are of the order of 1e-16.)

# %%
from samviz.course import check


def curved_average(hessian):
    return ...  # your formula


check("curved_average", curved_average)

# %% [markdown]
# <details><summary>Solution</summary>
#
# In this space the mean of $vv^\top$ is the projection on it divided by $M$, and the Hessian is zero in the other directions. So the mean of $v^\top Hv$ is $\operatorname{Tr}/M$.
#
# ```python
# import numpy as np
#
#
# def curved_average(hessian):
#     return np.trace(hessian) / (2 * np.linalg.matrix_rank(hessian))
# ```
#
# </details>
#
# **2.** A point approaches a minimum from the direction $d$: $x=x^*+\varepsilon d$ with ε → 0. Derive the limit of $R_{\mathrm{Asc}}/\rho^2$ for this approach from the Hessian (a symmetric matrix) and $d$. Compare it with the values of section 4.


# %%
def ascent_limit(hessian, d):
    return ...  # your formula


check("ascent_limit", ascent_limit)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import numpy as np
#
#
# def ascent_limit(hessian, d):
#     g = hessian @ d  # the gradient, up to the factor ε
#     u = g / np.linalg.norm(g)
#     return u @ hessian @ u / 2
# ```
#
# The factor $H$ in $\nabla L\approx\varepsilon Hd$ turns the gradient towards $v_1$. Therefore the diagonal gave 0.956, and only an approach exactly along $v_M$ gives $\lambda_M/2$.
#
# </details>
#
# **3.** Answer in one or two sentences between the quotation marks: Why does the limit for the average direction change when parameters are added on which the loss does not depend, while the other two limits stay?

# %%
check("sharpnesses_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Choose an answer, and read why it is right or wrong. Nothing is sent or stored outside this notebook.

# %%
from samviz.lab import quiz

quiz("sharpnesses")

# %% [markdown]
# ## Going deeper
#
# ### Three experiments with the panel
#
# - Set the ratio λ₁/λ₂ from 4 to 1. Which of the three limits move?
# - Choose the *bent* bowl and raise ρ from 0.01 to 1 at the minimum. Which curve leaves its dashed limit first?
# - Choose the *valley*, whose floor is flat, so that $\lambda_2=0$. Is the limit for the ascent direction 0?
#
# <details><summary>What you see</summary>
#
# - The panel keeps λ₁ fixed, so the limit for the worst direction stays. The other two rise. At ratio 1 all directions are alike and the three limits are equal.
# - The average leaves first, at about ρ = 0.3, because it also contains the directions in which the bowl is bent. Along $v_1$ this loss is a parabola, so the worst direction leaves last.
# - No. The gradient has no component along the floor, so the ascent direction never points along it, and the smallest eigenvalue that is not zero counts. There is only one here, so worst and ascent agree. The average counts the flat direction as one of $D=2$.
#
# </details>
#
# ### One ascent step does not find the worst direction
#
# SAM is often explained by the sentence "one ascent step finds the worst point nearby". **Question**: a small network is at a minimum that gradient descent has found. Which fraction of the worst rise does this one step reach there? A further ascent step, projected on the sphere of radius ρ, is a step of the power method; the table shows $K$ of them.

# %%
from samviz.dynamics import gradient_descent_minimum
from samviz.geometry.sharpness import maximize_on_sphere
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
# <details><summary>What you see</summary>
#
# The first step reaches about a thousandth. Gradient descent multiplies the component of ∇L along $v_1$ by $1-\eta\lambda_1$ in each step, so this component decays first, and the gradient that is left lies in flat directions. This is *one* approach to Γ, and not the infimum of Theorem 4.2: the value is no measurement of $\lambda_M$.
#
# </details>
#
# So a fixed number of ascent steps does not measure the worst direction. `worst_direction_sharpness` continues until a step gains less than 1e-9, starts from several directions, and reports whether it converged.

# %%
# NBVAL_CHECK_OUTPUT
from samviz.geometry import limiting_regularizer

found = worst_direction_sharpness(sine, x, rho=0.005)
print(f"converged: {found.converged.item()}, 1 − cos(v, ∇L(x + ρv)) below 1e-6: {found.residual.item() < 1e-6}")
print(f"R / ρ² over λ₁/2: {(found.value / 0.005**2 / limiting_regularizer(sine, x, 'worst').value).item():.2f}")

# %% [markdown]
# ### The limits as functions of the library
#
# `limiting_regularizer` computes the limits from the eigenvalues. The sharpness at three values of ρ approaches them; each pair shows the two sides of Γ.

# %%
# NBVAL_CHECK_OUTPUT
for kind, R in zip(("worst", "ascent", "average"), notions):
    limit = limiting_regularizer(valley(), torch.tensor([0.6, 0.9, 0.0, 0.0]), kind).value.item()
    print(f"{kind}: limit {limit:.3f};", *((R(valley(), near, r).value / r**2).numpy().round(2) for r in (0.3, 0.1)))
