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
# # Where the theory holds and where it ends
#
# **16 minutes.** Goal: know what fails when a hypothesis of Theorem 4.5 does not hold, and how to recognize it in a picture. Notebooks [00](00_start_here.ipynb) to [05](05_one_sample_at_a_time.ipynb) found what SAM minimizes under certain conditions. Real networks satisfy some of them only for a while, or not at all.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. What happens when λ₁ meets λ₂?
#
# SAM lowers the largest eigenvalue $\lambda_1$ of the Hessian. The second one, $\lambda_2$, falls too, but more slowly. The theory assumes $\lambda_1>\lambda_2$. A network that has learned a sine has taken 1,000 steps of SAM from a minimum. Sketch how λ₁ continues: move the three handles.

# %%
from samviz.panels import closing_gap_panel

panel = closing_gap_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# λ₁ meets λ₂ at step 2,000 at about 6.9. From then on both decrease together, to 6.4 at step 4,000. On the right, $|\cos(\nabla L,v_1)|$ jumps between 0 and 1, although SAM has not changed. The other two measures stay near 1.
#
# </details>
#
# Why do they decrease together? SAM's drift $-\tfrac12\eta\rho^2\,\partial\Phi\,\nabla\lambda_1$ lowers whichever eigenvalue is the largest. Follow two eigenvalues, $p$ and $q$, through the steps.
#
# 1. If $p$ is slightly larger, $p$ is λ₁. The gradient aligns with the eigenvector of $p$, and $p$ decreases until it is below $q$.
# 2. Then $q$ is λ₁. The gradient turns to the eigenvector of $q$, and $q$ decreases.
# 3. So neither can get ahead. Two equal eigenvalues have a *plane* of eigenvectors, and $v_1$ can be any vector of this plane.
#
# | measure of alignment | it asks | when λ₁ ≈ λ₂ |
# |---|---|---|
# | $\lvert\cos(\nabla L, v_1)\rvert$ | Does the gradient $g=\nabla L$ point along *this* vector? | jumps, because $v_1$ is any vector of a plane |
# | cosine with the top eigenspace | Does $g$ lie in the span of the eigenvectors with eigenvalues within 5 % of λ₁? | stays near 1, unless the threshold of 5 % divides a cluster of nearly equal eigenvalues |
# | Rayleigh ratio $g^\top \nabla^2L\, g/(\lambda_1\lVert g\rVert^2)$ | Is the curvature along $g$ as large as it can be? | stays near 1; **use this one** |
#
# ## 2. One row for each hypothesis
#
# > **Theorem 4.5** (Wen, Ma & Li 2023). *Assume* that $L$ is four times continuously differentiable; that its minimizers form a manifold Γ on which the Hessian has constant rank $M$; that $\lambda_1>\lambda_2$ along the limiting flow; that gradient flow takes the start to Γ; and that $\eta\ln(1/\rho)$ and $\rho/\eta$ are sufficiently small. *Then* full-batch SAM reaches a neighbourhood of Γ of size $O(\eta\rho)$ in $O(\ln(1/\rho)/\eta)$ steps (phase I). For $\Theta(1/(\eta\rho^2))$ steps it then follows $dX/d\tau=-\tfrac12\,\partial\Phi(X)\nabla\lambda_1(\nabla^2L(X))$ with $\tau=\eta\rho^2t$ and an error $O(\eta\ln(1/\rho))$ (phase II), and the angle between $\nabla L$ and the top eigenspace is $O(\rho)$.
#
# | hypothesis | what fails without it | picture or number |
# |---|---|---|
# | $\lambda_1>\lambda_2$ (Assumption 4.4) | $v_1$ is not unique, and $\nabla\lambda_1$ does not exist; both eigenvalues decrease together | section 1 |
# | ρ/η is small | the gradient is not aligned with $v_1$, so the drift is not that of λ₁ | section 3, the map *alignment* |
# | η is small ($\eta\ln(1/\rho)$ in the theorem) | the drift is stronger by $(2/(2-\eta\lambda_1))^2$ (our result), so runs of equal τ differ | Going deeper, *Every η and ρ* |
# | minimizers form a manifold Γ | cross-entropy has no minimizer at a finite distance, and λ₁ decreases without SAM | Going deeper, *Cross-entropy* |
# | gradient flow takes the start to Γ | far from a minimum, λ₁ *rises* to an edge of stability | Going deeper, *Far from a minimum* |
# | $L$ is four times differentiable | the derivation uses $\nabla^3L$; a network with ReLU units has kinks, and the theorem says nothing about it | Going deeper, *A network with kinks* |
# | for one sample per step: one output per sample, and all samples fitted (Setting 5.1) | $\nabla^2L_k$ has a higher rank, and one sample need not be aligned | [05, section 4](05_one_sample_at_a_time.ipynb#4.-Try-to-break-it:-two-or-more-samples-per-step), slider *λ₂/λ₁ of a sample* |
# | all samples in each step | between one and all samples $\nabla L_B$ need not be aligned (Example 5.8); one sample has another limit (Theorem 5.4) | [05, section 4](05_one_sample_at_a_time.ipynb#4.-Try-to-break-it:-two-or-more-samples-per-step) |
#
# ## 3. Try to break it: every η and ρ
#
# Each cell of the maps is a run of 1,000 steps from one minimum of a small network, which separates even from odd digits (40 digits for training, four of them with a wrong label; 800 other digits for the test). The dark end of each colour bar is the better one: flatter, better aligned, more accurate. Where is the gradient least aligned?

# %%
from samviz.panels import sweep_panel

panel2 = sweep_panel()
panel2

# %% [markdown]
# <details><summary>What you see</summary>
#
# The column ρ = 0 is gradient descent and is not aligned at all. For positive ρ the alignment decreases towards large ρ *and* small η: 1.00 at ρ = 0.025, and 0.36 and 0.07 in the lower right corner, where ρ/η is 160 to 320. SAM's gradient $\nabla L(x+\rho u)$ contains the term $\tfrac12\rho^2\nabla^3L[v_1,v_1]$ of notebook 02. Its part normal to Γ need not lie along $v_1$, and it has the same sign in every step. So it shifts the centre of the oscillation, and $\nabla L(x)$ gets a constant part $g_j$ along other eigenvectors $v_j$. In each step $g_j$ is multiplied by the factor μ of notebook [01](01_alignment.ipynb), and the third-order term adds $-\eta\lambda_j\rho^2c_j$ with $c_j=\tfrac12\nabla^3L[v_1,v_1,v_j]$. At rest both balance, which for a small η gives $|g_j|/\lVert\nabla L\rVert=\rho\,|c_j|/\big(\lambda_j+\tfrac12\eta\lambda_1^2\big)$ (our result; see [What a finite learning rate changes](pages/finite_learning_rate.md)). If $\lambda_j$ is much larger than $\eta\lambda_1^2$, this is of order ρ, as in Theorem 4.5. For smaller eigenvalues it is of order ρ/η. (On the valley this part is zero, so ρ/η = 150 was harmless in 05.)
#
# λ₁ and the trace decrease most in the upper right corner. Along an orange line τ = ηρ²t is constant, and so is λ₁, as long as ηλ₁ and ρ/η are small.
#
# </details>
#
# **Conclusion.** SAM's mechanism, alignment and the drift that follows from it, is robust: it survives the meeting of λ₁ and λ₂, if alignment is measured by the Rayleigh ratio. It needs a ratio ρ/η that is not too large, and a loss that is near a manifold of minimizers. For cross-entropy, and far from a minimum, other effects determine λ₁.
#
# Next: [07_loss_landscapes](07_loss_landscapes.ipynb), on the pictures of landscapes themselves and how they mislead, or [08_your_own_model](08_your_own_model.ipynb). [09_beyond_the_paper](09_beyond_the_paper.ipynb) says for each of these ends what is known, what has been measured, and what is open.
#
# ## Exercises
#
# **1.** A run of full-batch SAM took $t$ steps with learning rate η and radius ρ. You want to compare its trace with that of 1-SAM, which needs a smaller learning rate $\eta'$ and has the radius $\rho'$. After how many steps of 1-SAM is the comparison fair, that is, at the same time of the two limiting flows?

# %%
from samviz.course import check


def fair_steps(t, lr, rho, new_lr, new_rho):
    return ...  # your formula


check("fair_steps", fair_steps)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def fair_steps(t, lr, rho, new_lr, new_rho):
#     return t * lr * rho**2 / (new_lr * new_rho**2)
# ```
#
# For example, 4,000 steps at η = 0.1 and ρ = 0.02 correspond to 320 steps at η = 0.05 and ρ = 0.1. A comparison at equal *steps* mixes the effect of the method with that of the time.
#
# </details>
#
# **2.** Answer in one or two sentences between the quotation marks: λ₁ has met λ₂, and a colleague reports that $|\cos(\nabla L,v_1)|$ has dropped to 0.1. Why is this no evidence against the theory's mechanism, and what should be measured instead?

# %%
check("networks_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Choose an answer, and read why it is right or wrong. Nothing is sent or stored outside this notebook.

# %%
from samviz.lab import quiz

quiz("networks")

# %% [markdown]
# ## Going deeper
#
# ### Gradient descent hides $v_1$
#
# At a minimum that gradient descent has found, the gradient is small but not zero. **Question**: does it have a component along $v_1$? In a step, the component along an eigenvector with eigenvalue λ is multiplied by $1-\eta\lambda$, so the component along $v_1$ decays first. (This needs a small η: at its own edge of stability, λ₁ ≈ 2/η, gradient descent oscillates along $v_1$.)

# %%
from samviz.dynamics import Run, edge_of_stability, gradient_descent_minimum
from samviz.problems import load, mlp

sine = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
start = gradient_descent_minimum(sine)

# %%
# NBVAL_CHECK_OUTPUT
still = Run(sine, rule="gd", lr=0.05, x0=start, device="cpu").measure()
sam = Run(sine, rule="sam", lr=0.05, rho=0.005, x0=start, device="cpu")
sam.step(1000)
row = sam.measure()
print(f"gradient descent: λ₁ = {still['eigenvalues'][0]:.2f}, |cos(∇L, v₁)| below 1e-5: {still['cos_v1'] < 1e-5}")
print(f"1,000 steps of SAM: λ₁ = {row['eigenvalues'][0]:.2f}, |cos(∇L, v₁)| = {row['cos_v1']:.3f}")

# %% [markdown]
# The lab shows the same. Press Play at ρ = 0 first, and then raise ρ. The two gradients $g_1$ and $g_2$ of a SAM step give the curvature along $u=g_1/\lVert g_1\rVert$ without extra cost: $u\cdot(g_2-g_1)/\rho\approx u^\top\nabla^2L\,u$. It is shown by open circles and equals λ₁ once the gradient is aligned.

# %%
from samviz.lab import Lab

lab = Lab(sine, lr=0.05)
lab

# %% [markdown]
# ### Far from a minimum: the edge of stability
#
# In training from random weights λ₁ *rises* at first, until a step along $v_1$ becomes unstable. For gradient descent this happens at 2/η (Cohen et al. 2021). For SAM and a gradient of length $\lVert g\rVert$, Long and Bartlett (2024) derive
#
# $$\frac{\lVert g\rVert}{2\rho}\left(\sqrt{1+\frac{8\rho}{\eta\lVert g\rVert}}-1\right)\;\to\;\frac2\eta\quad(\rho\to0).$$
#
# (Agarwala and Dauphin (2023) derive an edge in a simplified model.) At the minimum of a quadratic this formula predicts nothing: on the 2-cycle $\lVert g\rVert=\eta\rho\lambda_1^2/(2-\eta\lambda_1)$, and with this length the formula gives λ₁ for every λ₁. **Question**: from random weights with η = 0.1, where does λ₁ stop rising under gradient descent, and where under SAM?

# %%
# NBVAL_CHECK_OUTPUT
for rule, rho in (("gd", 0.0), ("sam", 0.02)):
    run = Run(sine, rule, 0.1, rho, x0=sine.initial(0), device="cpu")
    for steps in (250, 1000, 3000):
        row = run.step(steps - run.steps) or run.measure(trace=False)
        edge = edge_of_stability(0.1, rho, row["grad_norm"])
        print(f"{rule:3} step {steps:5,}: λ₁ = {row['eigenvalues'][0]:5.2f}, edge = {edge:5.2f}")

# %% [markdown]
# <details><summary>What you see</summary>
#
# Under gradient descent λ₁ rises to 19.4, almost to 2/η = 20. Under SAM it rises to 8 only and then follows its own edge, which is lower. At step 250 λ₁ and the edge still differ. The claim `edge_of_sam` tests this for two learning rates.
#
# </details>
#
# ### Cross-entropy: no minimizer at a finite distance
#
# A network classifies 200 digits correctly, and the loss is the cross-entropy. The loss is smaller for larger outputs, so it has no minimizer, and phase I never ends. **Question**: how does λ₁ change under gradient descent, without SAM?

# %%
inputs, labels = load("digits")
classifier = mlp([64, 16, 10], activation="tanh", data=(inputs[:200], labels[:200]), loss="cross_entropy")
runs = {rule: Run(classifier, rule, lr=0.5, rho=0.05, device="cpu") for rule in ("gd", "sam")}

# %%
# NBVAL_CHECK_OUTPUT
for steps in (300, 3000):
    for rule, run in runs.items():
        run.step(steps - run.steps)
        row, norm = run.measure(trace=False), run.x.norm()
        values = f"loss {row['loss']:.4f}, λ₁ = {row['eigenvalues'][0]:.3f}, ‖x‖ = {norm:.1f}"
        print(f"step {steps:5,} {rule:3}: {values}, Rayleigh ratio {row['rayleigh']:.2f}")

# %% [markdown]
# <details><summary>What you see</summary>
#
# λ₁ falls by a factor of ten under gradient descent, and by almost the same factor under SAM: the weights grow, and the loss and its curvature vanish together. The Rayleigh ratio is 0.01, so the gradient is not aligned. SAM's perturbation changes the gradient only by about $\rho\nabla^2L\,u$, which stays small compared with the gradient itself, so SAM hardly differs from gradient descent. A smaller λ₁ is no sign of SAM here.
#
# </details>
#
# ### A network with kinks
#
# The loss of a ReLU network is not differentiable where an input of a unit changes its sign. Between the kinks a ReLU network still has third derivatives, because it multiplies the weights of its layers. **Question**: does SAM still align, and does it lower λ₁?

# %%
# NBVAL_CHECK_OUTPUT
relu = mlp([1, 24, 24, 1], activation="relu", data="sine", loss="mse")
run = Run(relu, "sam", lr=0.02, rho=0.005, x0=gradient_descent_minimum(relu), device="cpu")
for steps in (0, 1000, 4000):
    run.step(steps - run.steps)
    row = run.measure(trace=False)
    print(f"step {steps:5,}: λ₁ = {row['eigenvalues'][0]:.2f}, Rayleigh ratio {row['rayleigh']:.2f}")

# %% [markdown]
# It aligns, and λ₁ decreases a little and then nearly stops, probably because the oscillation crosses kinks. The theorem neither predicts nor excludes this.
#
# ### Every η and ρ at equal τ
#
# Phase II depends on time by $\tau=\eta\rho^2t$ only. **Question**: four times η and half of ρ give the same τ. After 1,000 steps, do they give the same λ₁? `sweep` runs all combinations of its settings as one batch and returns arrays with named axes.

# %%
from samviz import sweep

found = sweep(sine, lr=[0.0125, 0.05], rho=[0.01, 0.02], steps=1000, x0=start, device="cpu")
fall = still["eigenvalues"][0] - found.sharpness[0, 0, :, :, 0]  # (lr, rho)

# %%
# NBVAL_CHECK_OUTPUT
overshoot = [2 / (2 - lr * still["eigenvalues"][0]) for lr in found.lr]
print(f"λ₁ fell by {fall[0, 1]:.2f} at η = 0.0125, ρ = 0.02 and by {fall[1, 0]:.2f} at η = 0.05, ρ = 0.01")
print(f"their ratio is {fall[1, 0] / fall[0, 1]:.1f}, predicted {(overshoot[1] / overshoot[0]) ** 2:.1f}")

# %% [markdown]
# The two settings agree only for small η. At finite η SAM evaluates its gradient at distance $2\rho/(2-\eta\lambda_1)$ from Γ instead of ρ, and the drift grows with the square of this distance (our result). The prediction uses λ₁ at the start; λ₁ falls during the run, and more in the faster one, so the measured ratio is smaller. `found.to_pandas()` and `found.to_xarray()` return tables. For a long sweep, `path="a folder"` stores each finished row and continues after a crash, and `executor=` takes a process pool or a Dask cluster.
#
# ### Is a flatter minimum better on new data?
#
# The maps of section 3 belong to a network that separates even from odd digits. It learns from 40 digits, of which four have a wrong label, and gradient descent fits all 40. The test uses 800 other digits. Go back to the panel with these questions:
#
# - Does the test accuracy rise although SAM continues to fit the wrong labels?
# - What happens to it if all labels are right?
# - Choose *one sample* per step: which map changes most? (The alignment there is that of the full-batch gradient, about which Theorem 5.4 says nothing.)
#
# <details><summary>What you see</summary>
#
# With four wrong labels the test accuracy rises from 68 % to 79 % where λ₁ and the trace are smallest. With right labels λ₁ decreases as before, and the accuracy falls by up to 1 %. This is one network and one data set, and it shows a correlation. It does not show that flatness *causes* the improvement. A change of coordinates makes a network arbitrarily sharp without changing its function (Dinh et al. 2017; notebook 07). There are problems in which the flattest minimizers generalize badly, and problems in which SAM generalizes better for another reason (Wen, Li & Ma 2023, *Sharpness minimization algorithms do not only minimize sharpness to achieve better generalization*).
#
# </details>
#
# ### Real images
#
# Handwritten digits have 8 × 8 pixels and ten classes. The network has 2,410 parameters and 5,000 outputs to fit, so it does not interpolate. Γ is not a manifold of minimizers with zero loss here, and the theory is a guide and not a proof. **Question**: ten classes; how many eigenvalues share the top?

# %%
digits = mlp([64, 32, 10], activation="tanh", data=(inputs[:500], labels[:500]), loss="mse")
run = Run(digits, "sam", lr=0.3, rho=0.1, x0=gradient_descent_minimum(digits), device="cpu")
run.step(400)
row = run.measure(k=10, trace=False)

# %%
# NBVAL_CHECK_OUTPUT
print("λ₁₀/λ₁ above 0.4:", bool(row["eigenvalues"][9] > 0.4 * row["eigenvalues"][0]))
print("cosine with v₁ below 0.7:", bool(row["cos_v1"] < 0.7))
print("cosine with the top eigenspace below 0.8:", bool(row["cos_eigenspace"] < 0.8))
print("Rayleigh ratio above 0.85:", bool(row["rayleigh"] > 0.85))

# %% [markdown]
# About ten eigenvalues are nearly equal. The threshold of 5 % for the top eigenspace divides this cluster, so even the cosine with the eigenspace drops (to 0.65 in this run, and lower in others) while the gradient still lies in the cluster. Only the Rayleigh ratio, here 0.94, does not depend on such a threshold: use it. Try in the lab:
#
# - set ρ to 0 while it runs: how fast does the alignment vanish?
# - double η: 2/η is halved. Does λ₁ follow it?
# - choose the plane *trajectory's PCA*: which fraction of the path lies in it?

# %%
lab2 = Lab(digits, rho=0.05)
lab2

# %% [markdown]
# <details><summary>What you see after doubling η</summary>
#
# λ₁ does not follow 2/η, but it falls faster. With ρ = 0.05 and η = 0.5 it is 1.1 after 1,000 steps, far below 2/η = 4. Another 1,000 steps lower it to 0.8 with η = 1 and to 1.0 with η = 0.5 (one run each).
#
# </details>
