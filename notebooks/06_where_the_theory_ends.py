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
# # Networks: what SAM finds that gradient descent hides
#
# **35 minutes.** Goals:
#
# - see that under gradient descent the gradient is *orthogonal* to $v_1$, and that SAM turns it (Theorem 4.5);
# - see λ₁ meet λ₂, and know which measure of alignment to trust then (Assumption 4.4);
# - predict the sharpness at which SAM hovers, its edge of stability, and measure it;
# - compare full-batch SAM with 1-SAM (Theorem 5.4), and look at a network on real images;
# - sweep over η and ρ at once, and see what a flatter minimum is worth on images that it has not seen.
#
# Before each experiment there is a question. Write your answer down first.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %%
from samviz.dynamics import Run, edge_of_stability, gradient_descent_minimum
from samviz.lab import Lab
from samviz.problems import load, mlp

sine = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
start = gradient_descent_minimum(sine)

# %% [markdown]
# ## 1. Gradient descent hides $v_1$
#
# At a minimum found by gradient descent the gradient is not zero: the loss is still falling, slowly, along flat directions. **Question: is $v_1$ among the directions it moves in?**
#
# Along an eigenvector with eigenvalue λ a step multiplies the gradient by $1-\eta\lambda$. Along $v_1$ that factor is the smallest: this component dies first.

# %%
# NBVAL_CHECK_OUTPUT
still = Run(sine, rule="gd", lr=0.05, x0=start, device="cpu").measure()
print(f"λ₁ = {still['eigenvalues'][0]:.2f}, λ₂ = {still['eigenvalues'][1]:.2f}")
print(f"|cos(∇L, v₁)| below 1e-5: {still['cos_v1'] < 1e-5}")

# %% [markdown]
# ## 2. SAM finds it
#
# SAM never comes to rest: near the minimum it bounces. **Question: along which direction, and what does the bounce do to λ₁ over a thousand steps?**
#
# Near the valley floor the gradient obeys the same recursion as $x$ does on a quadratic, up to $O(\eta\rho^2)$. Theorem 4.8 then says: it aligns with $v_1$. What is left over is the third-order term of the Taylor expansion,
# $-\tfrac12\eta\rho^2\,\partial\Phi\,\nabla\lambda_1$: a step of gradient descent on the sharpness.

# %%
# NBVAL_CHECK_OUTPUT
sam = Run(sine, rule="sam", lr=0.05, rho=0.005, x0=start, device="cpu")
sam.step(1000)
row = sam.measure()
print(f"|cos(∇L, v₁)| = {row['cos_v1']:.3f}, λ₁ = {row['eigenvalues'][0]:.2f}")

# %% [markdown]
# The same in the lab. Play at ρ = 0 first, then raise ρ, and watch the landscape.
#
# SAM computes two gradients anyway. Their difference along the first, $u\cdot(g_2-g_1)/\rho\approx u^\top Hu$, is a free estimate of the curvature that it bounces on: the open circles in the lab. Once ∇L points along $v_1$ it equals λ₁.

# %%
lab = Lab(sine, lr=0.05)
lab

# %% [markdown]
# ## 3. The gap closes
#
# λ₁ falls and λ₂ hardly moves. **Question: when they meet, does λ₁ pass below λ₂?**
#
# The theorem assumes λ₁ > λ₂ (Assumption 4.4). At ρ = 0.02 and η = 0.1 the run reaches the end of that assumption within 3,000 steps. Three measures are shown because they answer differently there:
#
# | measure | asks | when λ₁ ≈ λ₂ |
# |---|---|---|
# | $\lvert\cos(\nabla L, v_1)\rvert$ | is it *this* vector? | jumps about: $v_1$ is any vector of a plane |
# | cos with the top eigenspace | is it *in* the plane? | stays at 1 |
# | Rayleigh ratio $g^\top H g/(\lambda_1\lVert g\rVert^2)$ | is the curvature along ∇L as large as can be? | stays at 1 |

# %%
# NBVAL_CHECK_OUTPUT
edge = Run(sine, rule="sam", lr=0.1, rho=0.02, x0=start, device="cpu")
edge.step(4000)
row = edge.measure()
print(f"(λ₁ − λ₂)/λ₁ below 5 %: {row['gap'] < 0.05}")
print(f"cos with the top eigenspace above 0.99: {row['cos_eigenspace'] > 0.99}")

# %% [markdown]
# ## 4. The edge of stability
#
# Gradient descent is stable while λ₁ < 2/η. SAM looks ahead, at a place where the gradient is larger, so its edge is lower. For a gradient of length $\lVert g\rVert$ it is (Agarwala & Dauphin 2023)
#
# $$\frac{\lVert g\rVert}{2\rho}\left(\sqrt{1+\frac{8\rho}{\eta\lVert g\rVert}}-1\right)\;\to\;\frac2\eta\quad(\rho\to0).$$
#
# **Question: how far is λ₁ from this edge in the run above?** The lab draws both lines in the sharpness panel.

# %%
# NBVAL_CHECK_OUTPUT
predicted = edge_of_stability(0.1, 0.02, row["grad_norm"])
print(f"SAM's edge {predicted:.2f}, λ₁ measured {row['eigenvalues'][0]:.2f}, gradient descent's edge {2 / 0.1:.0f}")

# %% [markdown]
# It sits on its edge, always: on the 2-cycle of Theorem 4.8 the gradient has exactly the length that makes the two equal. Put $\lVert g\rVert=\eta\rho\lambda_1^2/(2-\eta\lambda_1)$ into the formula to see it.
#
# ## 5. One sample at a time
#
# **Question: 1-SAM takes noisy steps and its loss is higher. Which will be lower after 5,000 steps, its trace or that of full-batch SAM?**
#
# Theorem 5.4: 1-SAM follows $-\tfrac12\partial\Phi\nabla\operatorname{Tr}(\nabla^2 L)$. In the lab above, set the batch size to 1 with the preset *1-SAM*.

# %%
# NBVAL_CHECK_OUTPUT
one = Run(sine, rule="sam", lr=0.05, rho=0.1, batch_size=1, x0=start, device="cpu")
one.step(5000)
print(
    f"trace: {still['trace']:.0f} at the start, {one.measure()['trace']:.0f} after 1-SAM, {row['trace']:.0f} after SAM"
)

# %% [markdown]
# ## 6. Real images
#
# Handwritten digits, 8 × 8 pixels, ten classes. The network has 2,410 parameters and more answers to give than parameters, so it does not interpolate: Γ is not a manifold of minimizers here, and the theory is a guide, not a proof. **Question: ten classes; how many eigenvalues will share the top?**

# %%
inputs, labels = load("digits")
digits = mlp([64, 32, 10], activation="tanh", data=(inputs[:500], labels[:500]), loss="mse")
lab2 = Lab(digits, rho=0.05)
lab2

# %% [markdown]
# The gap closes almost at once, and the top eigenspace has many dimensions. Things to try, with a prediction first:
#
# - set ρ to 0 while it runs: how fast does the alignment vanish?
# - double η: does λ₁ settle at half its value?
# - choose the plane *trajectory's PCA*: how much of the way lies in it?
#
# ## 7. Every η and ρ at once
#
# A sweep runs every combination of its settings, many runs as one batch, and gives arrays with named axes. Phase II says that λ₁ depends on time by $\tau=\eta\rho^2t$. **Question: four times η and half of ρ give the same τ. After a thousand steps, do they give the same λ₁?**

# %%
from samviz import sweep

found = sweep(sine, lr=[0.0125, 0.05], rho=[0.01, 0.02], steps=1000, x0=start, device="cpu")
fall = still["eigenvalues"][0] - found.sharpness[0, 0, :, :, 0]  # (lr, rho)

# %%
# NBVAL_CHECK_OUTPUT
overshoot = [2 / (2 - lr * still["eigenvalues"][0]) for lr in found.lr]
print(f"λ₁ fell by {fall[0, 1]:.1f} at η = 0.0125, ρ = 0.02 and by {fall[1, 0]:.1f} at η = 0.05, ρ = 0.01")
print(f"their ratio is {fall[1, 0] / fall[0, 1]:.1f}, predicted {(overshoot[1] / overshoot[0]) ** 2:.1f}")

# %% [markdown]
# Only for small η. On the 2-cycle the bounce is $2/(2-\eta\lambda_1)$ times as long as ρ alone makes it, and the drift goes with its square. The theorem is the limit η → 0.
#
# `found.to_pandas()` and `found.to_xarray()` give tables. A long sweep wants `path="a folder"`, where it keeps every finished row and goes on after a crash, and `executor=`, which takes a process pool or a Dask cluster.
#
# ## 8. What is it worth?
#
# Even or odd? A network learns it from 40 digits, of which four carry the wrong label, and gradient descent fits all 40. Every run of SAM starts at that one minimum; 800 other digits are the test. **Questions: with the full batch SAM, too, goes on fitting all 40. Will it do better on the test? Along which lines of the map is λ₁ constant?**

# %%
from samviz.panels import sweep_panel

panel = sweep_panel()
panel

# %% [markdown]
# Along the dotted lines τ is the same, and λ₁ follows them as long as ηλ₁ and ρ are small. Move *steps* and watch the lines cross the map. Things to try, with a prediction first:
#
# - *one sample* a step: which map changes most, λ₁ or the trace? Which η are too large now, and why (what is the largest λ₁ of a single sample's loss)?
# - the alignment in that case: it is measured with the gradient of the full batch, about which Theorem 5.4 says nothing;
# - all labels right: λ₁ falls as before. What happens to the test accuracy? Flatness helps where there is something to forget.
#
# ## What to take away
#
# 1. The alignment is SAM's doing: gradient descent has none.
# 2. Full-batch SAM sits on its edge of stability, and the edge moves down with λ₁.
# 3. When the eigengap closes, measure against the eigenspace.
# 4. Batch size 1 lowers the trace; in between, nobody has a theorem (Example 5.8).
# 5. For small η, curvature falls by τ = ηρ²t alone; a flatter minimum helped here where labels were wrong, and nowhere else.
#
# ## Quiz
#
# Four questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("networks")

# %% [markdown]
# Next: [07_loss_landscapes](07_loss_landscapes.ipynb), on the pictures themselves: what they show, and how they lie.
