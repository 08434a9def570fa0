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
# # Alignment: why SAM's gradient finds $v_1$
#
# **25 minutes.** Goals:
#
# - see SAM end in a 2-cycle across the minimum, along $v_1$, and predict its size (Theorem 4.8);
# - derive why $v_1$ wins, how fast, and what happens at the theorem's edges;
# - carry it over from $x$ on a quadratic to $\nabla L$ on a network (Theorem 4.5).
#
# Before each experiment there is a question. Write your answer down first.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. SAM never arrives
#
# On $L=\tfrac12x^\top Ax$ the gradient is $Ax$, and a step of SAM (Eq. 3) is
#
# $$x \leftarrow x-\eta A\left(x+\rho\,\frac{Ax}{\lVert Ax\rVert}\right)=(I-\eta A)\,x-\eta\rho\,\frac{A^2x}{\lVert Ax\rVert}.$$
#
# The first term shrinks with $x$, the second does not: its length is about $\eta\rho\lambda$ however close the minimum is. Write the step down first.

# %%
from samviz.course import check


def sam_step(gradient, x, lr, rho):
    return ...  # your formula


check("sam_step", sam_step)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import numpy as np
#
#
# def sam_step(gradient, x, lr, rho):
#     g = gradient(x)
#     return x - lr * gradient(x + rho * g / np.linalg.norm(g))
# ```
#
# </details>

# %% [markdown]
# **Question: the bowl below is nearly round, $\lambda_2=0.95\,\lambda_1$. Gradient descent comes to rest in the middle. Where does SAM end, and does it matter where it started?** Drag the start.

# %%
from samviz.panels import cycle_panel

panel = cycle_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# It jumps from one side of the minimum to the other, and each pair of jumps turns a little, until it lies along $v_1$. From there it jumps between two points for ever, at the predicted distance. The start decides only which end is first. Switch to gradient descent: its $\lvert\cos(x,v_1)\rvert$ goes to 0 instead.
#
# </details>

# %% [markdown]
# **Three more, with a prediction first:**
#
# - $\lambda_2/\lambda_1$ from 0.95 to 0.99, and to 1: what becomes of the alignment?
# - η from 0.4 to 0.5, where $\eta\lambda_1=1$: how wide is the cycle, compared with ρ?
# - η above 0.5, and above 1: does the cycle survive the end of the theorem?
#
# <details><summary>What you see</summary>
#
# - It takes longer and longer: the smaller the eigengap, the slower. At 1 there is no top direction, and $x$ keeps the one it has.
# - As wide as ρ: $\eta\rho\lambda_1/(2-\eta\lambda_1)=\rho$. Along $v_1$ a step then lands at exactly ρ on the other side, wherever it came from.
# - Yes, until $\eta\lambda_1=2$: the theorem's $\eta\lambda_1<1$ is what its proof asks for. The amplitude grows and goes to infinity at 2; beyond that, every step along $v_1$ overshoots by more than it came.
#
# </details>

# %% [markdown]
# ## 2. The size of the cycle
#
# On the cycle a step turns $a\,v_1$ into $-a\,v_1$. **Question: which $a$ does that?** Solve for it.


# %%
def amplitude(lr, rho, top):
    return ...  # your formula


check("amplitude", amplitude)

# %% [markdown]
# <details><summary>Solution</summary>
#
# For $x=a\,v_1$ the step gives $(1-\eta\lambda_1)a-\eta\rho\lambda_1$. Put it equal to $-a$: $(2-\eta\lambda_1)\,a=\eta\rho\lambda_1$.
#
# ```python
# def amplitude(lr, rho, top):
#     return lr * rho * top / (2 - lr * top)
# ```
#
# </details>

# %%
# NBVAL_CHECK_OUTPUT
from samviz.dynamics import Run
from samviz.problems import quadratic

run = Run(quadratic([2.0, 1.0]), rule="sam", lr=[0.05, 0.2, 0.4], rho=0.1, x0=[[1.0, 1.0]] * 3, device="cpu")
run.step(500)
print("predicted", [round(lr * 0.1 * 2 / (2 - lr * 2), 8) for lr in (0.05, 0.2, 0.4)])
print("measured ", run.x.norm(dim=1).numpy().round(8).tolist())

# %% [markdown]
# ## 3. Why $v_1$, and how fast
#
# Other eigenvectors have cycles of their own. **Question: why does none of them last?**
#
# On the cycle $\lVert Ax\rVert=\lambda_1a$. Put a small part along $v_2$ beside it, and with $r=\lambda_2/\lambda_1$ each step multiplies that part by
#
# $$1-\eta\lambda_2-\eta\rho\,\frac{\lambda_2^2}{\lambda_1a}=1-\eta\lambda_2-r^2(2-\eta\lambda_1).$$
#
# For $r<1$ this lies between −1 and 1: the part dies, from side to side when the factor is negative. At $r=1$ it is −1: nothing dies. For $r>1$, which is $v_1$ seen from a cycle along $v_2$, it is below −1: the part grows. Only along the top one is the cycle stable.

# %%
# NBVAL_CHECK_OUTPUT
lr, rho, top = 0.2, 0.1, 2.0
for r in (0.2, 0.5, 0.9, 0.98):
    run = Run(quadratic([top, r * top]), rule="sam", lr=lr, rho=rho, x0=[1.0, 1.0], trail=2)
    run.step(300)
    before, after = (x[0, 1].item() for x in run.trail)
    predicted = 1 - lr * top * r - r**2 * (2 - lr * top)
    print(f"r = {r}: predicted {predicted:.4f}, measured {after / before:.4f}")

# %% [markdown]
# Gradient descent multiplies the part along $v_i$ by $1-\eta\lambda_i$, so for small η the *top* part dies first and what is left points to the other end of the spectrum. **Question: after 50 steps, what is $\lvert\cos(x,v_1)\rvert$ for each?** For gradient descent you can say it in one formula.

# %%
# NBVAL_CHECK_OUTPUT
both = Run(quadratic([2.0, 1.0]), rule="sam", lr=0.1, rho=[0.05, 0.0], x0=[[1.0, 1.0]] * 2, device="cpu")
both.step(50)
cosines = (both.x[:, 0].abs() / both.x.norm(dim=1)).tolist()
print(f"SAM: predicted 1, measured {cosines[0]:.4f}")
print(f"gradient descent: predicted {(0.8 / 0.9) ** 50:.4f}, measured {cosines[1]:.4f}")

# %% [markdown]
# The formula is $\left((1-\eta\lambda_1)/(1-\eta\lambda_2)\right)^{50}$, up to the normalization. ρ = 0 is gradient descent to the bit, so one run of two rows is both.
#
# ## 4. From $x$ to $\nabla L$
#
# A network is no quadratic. But on a quadratic the gradient $g=Ax$ obeys the same recursion as $x$, and near Γ the gradient of any loss does so up to $O(\eta\rho^2)$. So what Theorem 4.8 says of $x$, Theorem 4.5 says of $\nabla L$: it aligns with $v_1$. Its length should then be λ₁ times the amplitude, $\eta\rho\lambda_1^2/(2-\eta\lambda_1)$. First the measure:


# %%
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

# %% [markdown]
# **Question: 673 parameters, 1,000 steps of SAM from a gradient-descent minimum. How well does a formula for a quadratic predict the gradient's length?**

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
print(f"|cos(∇L, v₁)|: below 1e-5 at the start: {start['cos_v1'] < 1e-5}; now {row['cos_v1']:.4f}")
print(f"with the top eigenspace {row['cos_eigenspace']:.4f}, Rayleigh ratio {row['rayleigh']:.4f}")
print(f"‖∇L‖: predicted {0.05 * 0.005 * top**2 / (2 - 0.05 * top):.3f}, measured {row['grad_norm']:.3f}")

# %% [markdown]
# Three measures, because they differ once λ₂ comes close to λ₁; [06_where_the_theory_ends](06_where_the_theory_ends.ipynb) shows that. Here they agree.
#
# ## What to take away
#
# 1. SAM ends in a 2-cycle along $v_1$ of size $\eta\rho\lambda_1/(2-\eta\lambda_1)$ (Theorem 4.8). It never comes to rest, and that is the point.
# 2. $v_1$ wins because every other cycle is unstable towards it. The eigengap sets the speed; without a gap there is no alignment with one vector.
# 3. Gradient descent aligns with the other end of the spectrum.
# 4. On a network the gradient plays the part of $x$.
#
# ## Quiz
#
# Four questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("alignment")

# %% [markdown]
# Now the gradient points along $v_1$. What that does to $\lambda_1$ comes next: [04_two_wrongs_make_a_right](04_two_wrongs_make_a_right.ipynb).
