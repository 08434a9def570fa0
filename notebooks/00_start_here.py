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
# # Start here: SAM, live
#
# **5 minutes.** Goals: steer a running SAM with sliders, see where the iterate goes and what the Hessian does, and check one theorem to eight digits.
#
# Sharpness-aware minimization (SAM) takes its gradient a little uphill, at distance ρ:
#
# $$x \leftarrow x - \eta\,\nabla L\!\left(x + \rho\,\frac{\nabla L(x)}{\lVert\nabla L(x)\rVert}\right)\qquad\text{(Eq. 3)}$$
#
# Wen, Ma and Li (ICLR 2023) ask what this does after the loss is already small. Their answer: the gradient turns until it points along $v_1$, the top eigenvector of the Hessian, and from then on every step lowers $\lambda_1$, the sharpness. You can watch it happen.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %%
from samviz.lab import Lab
from samviz.problems import mlp

problem = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
problem

# %% [markdown]
# A small network that has learned a sine. The lab starts where gradient descent ends, with ρ = 0. **Run the next cell, press Play, then move ρ.** Moving a slider changes the running run; it does not restart it.

# %%
lab = Lab(problem)
lab

# %% [markdown]
# | control | what it does |
# |---|---|
# | Play, Pause, Step, Reset | Reset goes back to the start with the settings you see |
# | ρ radius | how far uphill SAM looks; 0 is gradient descent to the bit |
# | η learning rate | the slider moves by ratio; type any number beside it |
# | batch size | from one sample (1-SAM) to all of them |
# | preset | four settings worth knowing |
# | plane, Re-centre | the slice of the loss that the landscape shows; Re-centre puts the iterate in its middle |
# | ghost of the last run | keeps the run before the last Reset in grey |
# | Share | this run as one line of text; paste another's there and press Enter to get the same run |
#
# Left, on one step axis: the loss, the Hessian's eigenvalues and trace, and how well the gradient points along the top of the spectrum. A dashed mark is a change that you made. Right: the loss in the plane of $v_1$ and $v_2$ with the last 40 steps, and what the network computes.

# %% [markdown]
# ## Three things to try, each with a prediction first
#
# **1. The first touch of ρ.** At ρ = 0 the cosine between ∇L and $v_1$ is about $10^{-7}$. What will it be, 100 steps after you set ρ = 0.005? Choose the preset *SAM, small ρ (the theorem)*.
#
# <details><summary>What you see</summary>
# It jumps to 1 (Theorem 4.5: the angle is O(ρ)). In the landscape the iterate bounces across the valley along v₁, and λ₁ begins to fall.
# </details>
#
# **2. Too much of a good thing.** λ₁ = 15.4 falls, λ₂ = 9.5 hardly moves. What happens to cos(∇L, v₁) when they meet? Choose *SAM, large ρ (its edge)* and let 3,000 steps pass.
#
# <details><summary>What you see</summary>
# Both fall together from then on. v₁ is no longer one direction, so its cosine jumps about, and the bounce in the landscape turns. The alignment with the top <i>eigenspace</i> stays at 1: the mechanism is intact, only the assumption λ₁ > λ₂ is gone.
# </details>
#
# **3. One sample at a time.** Full-batch SAM lowers λ₁. Which number falls fastest with batch size 1? Choose *1-SAM*, and look at the trace.
#
# <details><summary>What you see</summary>
# The trace. Each sample's Hessian has rank one, so each ∇L_k is aligned with its own top eigenvector (Lemma 5.5), and the mean of the samples' λ₁ is the trace (Theorem 5.4).
# </details>

# %% [markdown]
# ## One theorem, predicted and measured
#
# On a quadratic, SAM never arrives: it ends in a 2-cycle across the minimum, along $v_1$, of size $\eta\rho\lambda_1/(2-\eta\lambda_1)$ (Theorem 4.8). The same code runs the lab above.

# %%
from samviz.dynamics import Run
from samviz.problems import quadratic

run = Run(quadratic([3.0, 1.5, 1.0]), rule="sam", lr=0.1, rho=0.05, device="cpu")
run.step(2000)

# %%
# NBVAL_CHECK_OUTPUT
predicted = 0.1 * 0.05 * 3.0 / (2 - 0.1 * 3.0)
print(f"predicted {predicted:.8f}, measured {run.x.norm():.8f}")
print(f"along v1: {abs(run.x[0, 0]) / run.x.norm():.8f}")

# %% [markdown]
# ## Quiz
#
# Three questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("start")

# %% [markdown]
# Next: [03_three_sharpnesses](03_three_sharpnesses.ipynb) asks what sharpness is: there are three answers. To see a static picture instead of the lab, run `lab.run(500).static()`.
