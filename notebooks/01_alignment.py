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
# # Alignment: in which direction does SAM oscillate?
#
# **16 minutes.** In notebook [00](00_start_here.ipynb), SAM began to jump across the valley as soon as ρ was switched on, and λ₁ fell. The goal of this notebook is the first half of the reason: from almost every start the jumps end up in one particular direction.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. Where does SAM end?
#
# We start with the simplest minimum, a bowl $L=\tfrac12x^\top Ax$ in two dimensions. Its Hessian is the matrix $A$, with eigenvalues $\lambda_1>\lambda_2>0$ and unit eigenvectors $v_1$ and $v_2$, which are the two axes of the picture. The bowl is nearly round: $\lambda_2=0.95\,\lambda_1$.
#
# In notebook 00 the gradient of a network turned to $v_1$. Here the two curvatures differ by only 5 %. Gradient descent converges to the minimum in the middle, but SAM does not converge to a point. **Predict**: does its iterate $x$ end along $v_1$, along $v_2$, or along the line of its start? Turn the needle to the line through the minimum on which $x$ lies after 100 steps.

# %%
from samviz.panels import cycle_panel

panel = cycle_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# SAM jumps from one side of the minimum to the other. Each pair of jumps turns a little, until the jumps lie along $v_1$. From then on SAM alternates between two points, a *2-cycle*. Theorem 4.8 in section 2 predicts their distance from the minimum.
#
# Almost every start leads there: drag the start, or move it with the arrow keys. Only a start exactly on the axis of $v_2$ stays on it. Gradient descent (dotted) ends in the other direction: its |cos(x, v₁)| goes to 0.
#
# </details>
#
# ## 2. Why $v_1$
#
# The gradient is $\nabla L=Ax$, so a step of SAM (Eq. 3) is
#
# $$x \;\leftarrow\; x-\eta A\Big(x+\rho\,\frac{Ax}{\lVert Ax\rVert}\Big)=(I-\eta A)\,x-\eta\rho\,\frac{A^2x}{\lVert Ax\rVert}.$$
#
# 1. The first term shrinks with $x$. The second one does not: its length is between $\eta\rho\lambda_2$ and $\eta\rho\lambda_1$, however small $x$ is. So SAM does not converge to the minimum.
# 2. For $a>0$ a step maps $a\,v_1$ to $\big((1-\eta\lambda_1)\,a-\eta\rho\lambda_1\big)v_1$. This is $-a\,v_1$ if $a=\eta\rho\lambda_1/(2-\eta\lambda_1)$, and by symmetry the next step leads back: a 2-cycle. It exists only for $\eta\lambda_1<2$.
# 3. On this cycle $\lVert Ax\rVert=\lambda_1a$. A small additional component along $v_2$ is therefore multiplied in each step by $\mu=1-\eta\lambda_2-\eta\rho\lambda_2^2/(\lambda_1a)=1-\eta\lambda_2-r^2\,(2-\eta\lambda_1)$ with $r=\lambda_2/\lambda_1$.
# 4. We have $1+\mu=(1-r)\,\big(2(1+r)-r\,\eta\lambda_1\big)$, and the second bracket is positive for $\eta\lambda_1<2$. So $\mu>-1$ exactly if $r<1$, and $\mu<1$ always. For $r<1$ the component along $v_2$ decays: the cycle along $v_1$ is stable.
# 5. There is also a cycle along $v_2$. For it, exchange λ₁ and λ₂: then $r>1$, the factor is below −1, and a small component along $v_1$ grows. Only the cycle along $v_1$ is stable.
#
# > **Theorem 4.8** (Wen, Ma & Li 2023; see also Bartlett, Long & Bousquet 2022). Let $L=\tfrac12x^\top Ax$, where $A$ is positive definite and its largest eigenvalue is simple ($\lambda_1>\lambda_2$), and let $\eta\lambda_1<1$. Then for almost every start the direction of $x(t)$, the iterate after $t$ steps, converges to $\pm v_1$, and $\lVert x(t)\rVert\to\eta\rho\lambda_1/(2-\eta\lambda_1)$.
#
# We check the factor μ. The last two steps of a run give the measured one:

# %%
from samviz.dynamics import Run
from samviz.problems import quadratic

# %%
# NBVAL_CHECK_OUTPUT
for r in (0.2, 0.5, 0.9, 0.98):
    run = Run(quadratic([2.0, 2 * r]), rule="sam", lr=0.2, rho=0.1, x0=[1.0, 1.0], trail=2, device="cpu")
    run.step(300)
    measured = (run.trail[1][0, 1] / run.trail[0][0, 1]).item()
    print(f"λ₂/λ₁ = {r}: predicted {1 - 0.2 * 2 * r - r**2 * (2 - 0.2 * 2):.4f}, measured {measured:.4f}")

# %% [markdown]
# ## 3. From a bowl to a network
#
# A network is not a quadratic, and its iterate keeps moving along Γ, so $x$ itself cannot align. But the gradient can. On a quadratic the gradient is $g=Ax$. Multiply the step above by $A$, and you get the recursion of the gradient: $\;g\leftarrow(I-\eta A)\,g-\eta\rho A^2g/\lVert g\rVert$. At points whose distance from Γ is of the order of the cycle, ηρ, Taylor's theorem gives this recursion for the gradient of *any* loss, with $A=\nabla^2L$. Its error is $O(\eta\rho^2)$. The gradient, $\lambda_1a$ on the cycle, is of order ηρ, so the error is smaller by a factor of order ρ. The directions along Γ, in which $\nabla^2L$ is zero, do no harm, because the gradient has almost no component there. In more dimensions each eigenvalue $\lambda_j$ below λ₁ has its own factor μ, with $\lambda_j$ in place of λ₂. The errors of many steps do not add up where |μ| is well below 1. For a small $\lambda_j>0$ the factor is close to 1, and its errors add up over about $1/(1-\mu)$ steps; they stay small only if ρ/η is small (notebook [06](06_where_the_theory_ends.ipynb) has the formula). So the gradient turns to $v_1$:
#
# > **Theorem 4.5, alignment** (Wen, Ma & Li 2023). Let Γ be a manifold of minimizers of a four times continuously differentiable $L$, with $\lambda_1>\lambda_2$ on Γ, and let $\eta\ln(1/\rho)$ and $\rho/\eta$ be small. Let SAM start in the basin of Γ, from which gradient descent with tiny steps leads to Γ. Once SAM has arrived near Γ, the angle between $\nabla L(x(t))$ and $\pm v_1$ is $O(\rho)$. (Notebook [02](02_why_sharpness_decreases.ipynb) states the whole theorem.)
#
# **Question**: a network with 673 parameters takes 1,000 steps of SAM from a minimum that gradient descent has found. What is |cos(∇L, v₁)| then? On the cycle of a bowl, $\lVert\nabla L\rVert=\lambda_1a=\eta\rho\lambda_1^2/(2-\eta\lambda_1)$. How close is the network to this? And what is the cosine between two consecutive gradients?

# %%
from samviz.dynamics import gradient_descent_minimum
from samviz.problems import mlp

sine = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
run = Run(sine, rule="sam", lr=0.05, rho=0.005, x0=gradient_descent_minimum(sine), device="cpu")
start = run.measure()
run.step(1000)
row = run.measure()

# %%
# NBVAL_CHECK_OUTPUT
top = row["eigenvalues"][0]
print(f"|cos(∇L, v₁)|: below 1e-5 at the start: {start['cos_v1'] < 1e-5}; after SAM: {row['cos_v1']:.4f}")
print(f"‖∇L‖: predicted {0.05 * 0.005 * top**2 / (2 - 0.05 * top):.3f}, measured {row['grad_norm']:.3f}")

# %%
# NBVAL_CHECK_OUTPUT
before = sine.gradient(run.x)[1][0]
run.step()
after = sine.gradient(run.x)[1][0]
print(f"cosine between two consecutive gradients: {before @ after / before.norm() / after.norm():.4f}")

# %% [markdown]
# The tiny gradient that gradient descent leaves was perpendicular to $v_1$, because its component along $v_1$ decays fastest. SAM has turned the gradient to $v_1$. It has the length that the bowl predicts, and it changes its sign in each step.
#
# ## 4. Try to break it
#
# Go back to the panel of section 1 and try these settings. Say first what will happen.
#
# - λ₂/λ₁ = 0.99, and then 1. How long does the alignment take?
# - η above 0.5. Here λ₁ = 2, so ηλ₁ > 1, and the theorem says nothing. And η above 1?
# - Set λ₂/λ₁ back to 0.95, and choose *gradient descent* and η = 0.98. Does gradient descent never align with $v_1$?
#
# <details><summary>What you see</summary>
#
# - At 0.99 the factor μ is −0.97 in place of −0.84, and the alignment takes about five times as many steps. At 1 there is no single top direction, and $x$ keeps the direction that it has. The alignment needs a gap between λ₁ and λ₂.
# - The cycle exists, and is stable, until ηλ₁ = 2 (items 2 to 4 of section 2). That almost every start leads to it is proved for ηλ₁ < 1, and the panel shows it beyond. The size of the cycle grows and tends to infinity at 2. Beyond that, every step along $v_1$ overshoots the minimum by more than the distance to it.
# - With η = 0.98, ηλ₁ is 1.96, and gradient descent multiplies the component along $v_1$ by −0.96 and that along $v_2$ by −0.86. It aligns with $v_1$, too: close to its *edge of stability*, ηλ₁ = 2, gradient descent oscillates along $v_1$. For a small η it does not. The difference is that SAM aligns for a small η, too.
#
# </details>
#
# **Conclusion.** SAM does not converge to a point, because its perturbation has a fixed length. It ends in an oscillation across the minimum, and only the oscillation along $v_1$ is stable. On a network the gradient takes the place of $x$, so it turns to $v_1$ and changes its sign with every step. Next: [02_why_sharpness_decreases](02_why_sharpness_decreases.ipynb) shows why such an oscillation lowers λ₁.
#
# ## Exercises
#
# **1.** Measure the alignment: return |cos(∇L, v₁)| for a gradient and a Hessian, given as arrays.

# %%
from samviz.course import check


def alignment(gradient, hessian):
    return ...  # your formula


check("alignment", alignment)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import numpy as np
#
#
# def alignment(gradient, hessian):
#     values, vectors = np.linalg.eigh(hessian)  # smallest first, vectors as columns
#     return abs(vectors[:, -1] @ gradient) / np.linalg.norm(gradient)
# ```
#
# </details>
#
# **2.** SAM is already close to its cycle along $v_1$. After how many steps is the component along $v_2$ a thousand times smaller? (The answer need not be a whole number.)


# %%
def steps_to_align(lr, top, second):
    return ...  # your formula, with lr = η, top = λ₁ and second = λ₂


check("steps_to_align", steps_to_align)

# %% [markdown]
# <details><summary>Solution</summary>
#
# Solve $|\mu|^n=1/1000$ for $n$.
#
# ```python
# import numpy as np
#
#
# def steps_to_align(lr, top, second):
#     factor = 1 - lr * second - (second / top) ** 2 * (2 - lr * top)
#     return -np.log(1000) / np.log(abs(factor))
# ```
#
# </details>
#
# **3.** Gradient descent with a small η and SAM minimize the same quadratic. Why does x point along v₁ for SAM only?

# %%
check("alignment_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Five questions. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("alignment")

# %% [markdown]
# ## Going deeper
#
# ### The factor lies between −1 and 1
#
# Write $s=\eta\lambda_1$ and $r=\lambda_2/\lambda_1<1$; then $\mu=1-rs-r^2(2-s)$. It is below 1, because both subtracted terms are positive for $0<s<2$. It is above −1, because $rs+r^2(2-s)<2$ is the same as $rs(1-r)<2(1-r)(1+r)$, that is $rs<2(1+r)$, which holds for every $s<2$. For $r=1$ the factor is −1, so nothing decays.
#
# ### The size of the cycle for three learning rates

# %%
# NBVAL_CHECK_OUTPUT
run = Run(quadratic([2.0, 1.0]), rule="sam", lr=[0.05, 0.2, 0.4], rho=0.1, x0=[[1.0, 1.0]] * 3, device="cpu")
run.step(500)
print("predicted", [round(lr * 0.1 * 2 / (2 - lr * 2), 8) for lr in (0.05, 0.2, 0.4)])
print("measured ", run.x.norm(dim=1).numpy().round(8).tolist())

# %% [markdown]
# At ηλ₁ = 1 the size of the cycle is exactly ρ. A step along $v_1$ then lands at the distance ρ on the other side, from wherever it started.
#
# ### Gradient descent ends at the other end of the spectrum
#
# Gradient descent multiplies the component along $v_i$ by $1-\eta\lambda_i$. For a small η the component along $v_1$ shrinks fastest, and the flat directions remain. From a start with equal components, |cos(x, v₁)| after 50 steps is about $\big((1-\eta\lambda_1)/(1-\eta\lambda_2)\big)^{50}$. One batch of two runs compares it with SAM, because ρ = 0 is gradient descent:

# %%
# NBVAL_CHECK_OUTPUT
both = Run(quadratic([2.0, 1.0]), rule="sam", lr=0.1, rho=[0.05, 0.0], x0=[[1.0, 1.0]] * 2, device="cpu")
both.step(50)
cosines = (both.x[:, 0].abs() / both.x.norm(dim=1)).tolist()
print(f"SAM: predicted 1, measured {cosines[0]:.4f}")
print(f"gradient descent: predicted {(0.8 / 0.9) ** 50:.4f}, measured {cosines[1]:.4f}")

# %% [markdown]
# ### Three measures of alignment
#
# If λ₂ is close to λ₁, then $v_1$ is hardly determined, and |cos(∇L, v₁)| can change by chance. Two other measures do not have this problem. The *cosine with the top eigenspace* projects the gradient on the span of all eigenvectors whose eigenvalues are within 5 % of λ₁. The *Rayleigh ratio* is the curvature along the gradient $g$ divided by the largest curvature, $g^\top\nabla^2L\,g/(\lambda_1\lVert g\rVert^2)$; it is 1 if $g$ lies in the top eigenspace. In section 3 all three agree:

# %%
# NBVAL_CHECK_OUTPUT
print(f"cosine with the top eigenspace {row['cos_eigenspace']:.4f}, Rayleigh ratio {row['rayleigh']:.4f}")

# %% [markdown]
# On handwritten digits they do not ([06](06_where_the_theory_ends.ipynb) has this network). About ten eigenvalues are nearly equal there, and a threshold of 5 % divides this cluster at an arbitrary place. The cosine with the top eigenspace can then drop to 0.1–0.2, while the Rayleigh ratio stays close to 1. The gradient lies in the cluster, but not in the part above the threshold. Use the Rayleigh ratio if the top eigenvalues form a cluster.
