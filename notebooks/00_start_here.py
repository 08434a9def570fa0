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
# # Start here: which minimum?
#
# **10 minutes.** The goal: see that SAM changes *which* minimum is reached, and ask which notion of sharpness it minimizes. The tutorial follows *How Does Sharpness-Aware Minimization Minimize Sharpness?* (Wen, Ma & Li 2023), here called *the paper*. The numbers of equations and theorems are those of the paper.
#
# ![Gradient descent and SAM in the same valley. Gradient descent stops in its sharp part, at λ₁ = 59. SAM jumps from wall to wall and drifts along the floor to the flat part, where λ₁ = 16.](secret.webp)
#
# Gradient descent (grey) stops at the first minimum that it reaches. SAM (orange) jumps across the valley and moves along its floor to a flatter minimum. The height is the loss, and six symbols describe the rest:
#
# | symbol | meaning |
# |---|---|
# | $L$ | the training loss, a function of the parameters $x$; $\nabla L$ is its gradient, and $\nabla^2L$ its Hessian, the matrix of second derivatives |
# | $\eta$ | the learning rate |
# | $\rho$ | the radius of SAM: the distance between $x$ and the point where SAM computes its gradient |
# | $\lambda_1$ | the largest eigenvalue of $\nabla^2L$, which is the largest curvature of the loss; it is often called *the* sharpness |
# | $v_1$ | its unit eigenvector: the direction of the largest curvature |
# | $\Gamma$ | the set of all minimizers of $L$, such as the floor of the valley |

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. Many minima, one prediction
#
# A network with more parameters than data fits the data in infinitely many ways: its loss is zero on a whole manifold Γ. Some points of Γ have a smaller loss on new data than others, they *generalize* better, and a common guess is that the flat ones do. *Sharpness-aware minimization* (SAM, Foret et al. 2021) was designed to find a flat point. Its gradient comes from a point at the distance ρ uphill:
#
# $$x \leftarrow x - \eta\,\nabla L\!\left(x + \rho\,\frac{\nabla L(x)}{\lVert\nabla L(x)\rVert}\right)\qquad\text{(Eq. 3)}$$
#
# **Predict**: gradient descent has reached a point of Γ of a small network, and it practically no longer moves: its gradient is tiny, but not zero. At step 200, ρ is switched on. Draw how λ₁ continues, or skip the question.

# %%
from samviz.panels import first_change_panel

panel = first_change_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# λ₁ falls from 15.4 to 7.0 within 1,000 steps. The training loss cannot show this: it stays below 0.01, and the network fits its data at every step. With ρ = 0 in place of 0.05, λ₁ stays where it is.
#
# </details>
#
# ## 2. Three notions of sharpness
#
# So SAM moves to a flatter point of Γ. But which sharpness does it minimize? Foret et al. (2021) use three different notions. Each is the increase $L(x+\varepsilon)-L(x)$ for a perturbation ε of length ρ, and they differ in the direction of ε:
#
# | where it is used | direction of ε | name |
# |---|---|---|
# | SAM's *objective*, $\min_x\max_{\lVert\varepsilon\rVert\le\rho}L(x+\varepsilon)$ | the worst one | worst-direction sharpness |
# | SAM's *algorithm* (Eq. 3) | that of the gradient | ascent-direction sharpness |
# | the *generalization bound* that motivates SAM (section 4) | a random one, on average | average-direction sharpness |
#
# On Γ the gradient is zero, so $L(x+\varepsilon)-L(x)\approx\tfrac12\varepsilon^\top\nabla^2L\,\varepsilon$. Its largest value for $\lVert\varepsilon\rVert=\rho$ is $\tfrac12\rho^2\lambda_1$. Its mean over all directions is $\tfrac12\rho^2$ times the mean of all eigenvalues. (On Γ the ascent direction is not defined, and next to Γ it depends on the side. One takes the smallest value over all sides; see notebook [03](03_three_sharpnesses.ipynb).)
#
# So the three notions can prefer different points of Γ. **Which of the three does the algorithm minimize?** This is the question of the paper. One might expect the second notion, because the algorithm uses its direction. But the algorithm does not descend on it: the direction of the gradient changes with $x$, and the algorithm ignores this change.
#
# ## 3. The live lab
#
# Here is the same network, with everything that we measure. The lab starts at the minimum of section 1. A slider changes the running optimizer; it does not restart it.
#
# **Question**: which of these will change after ρ = 0.02: the loss, the eigenvalues of the Hessian, the cosine of the angle between $\nabla L$ and $v_1$? **Run the next two cells, press Play, and then set ρ to 0.02.**

# %%
from samviz.lab import Lab
from samviz.problems import mlp

problem = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
problem

# %%
lab = Lab(problem)
lab

# %% [markdown]
# | control | what it does |
# |---|---|
# | Play, Pause, Step, Reset | Reset returns to the start and keeps the settings |
# | ρ radius, η learning rate | ρ = 0 is gradient descent; you can type any number next to a slider |
# | batch size | how many samples a step uses: all of them, or as few as one |
# | preset | four settings that the notebooks use |
#
# On the left you see the loss, the eigenvalues of the Hessian with their sum (the *trace*), and the cosine of the angle between $\nabla L$ and $v_1$. Notebooks 01 and 06 explain the other curves. On the right you see the loss around the iterate with its last 40 steps, and below it the output of the network.
#
# **Try to break it**: set ρ back to 0. Does λ₁ return to its old value?
#
# <details><summary>What you see</summary>
#
# The cosine jumps from about $10^{-7}$ to 1: the gradient turns to $v_1$. (Gradient descent never reaches the minimum exactly. The tiny gradient that it leaves, nearly perpendicular to $v_1$, gives SAM the direction of its first step. Notebook 01 explains why the later steps turn to $v_1$.) In the picture on the right, the iterate jumps from one side of the valley to the other. λ₁ begins to fall, by more than 10 % in 400 steps. This is slow; notebook 02 shows how slow. The trace and the second eigenvalue, λ₂, fall, too. The loss rises from about $3\cdot10^{-6}$ to $10^{-3}$, because SAM oscillates at a small distance from Γ, and then it falls slowly.
#
# With ρ = 0 the jumps die out and λ₁ stays where it is: gradient descent stops at the nearest point of Γ. The decrease of λ₁ needs the perturbation.
#
# </details>
#
# ## 4. Why it matters which notion it is
#
# The theorem that motivates SAM is about the *average* direction:
#
# > **Generalization bound** (Foret et al. 2021, Theorem 2, in our words). Let $L$ be the mean loss of $n$ training samples, which are drawn at random, and let $L_{\mathcal D}$ be the expected loss of a new sample; both have values in [0, 1]. Let $\varepsilon$ be Gaussian noise that is shorter than ρ with high probability. *Assume that noise does not decrease the expected loss:* $L_{\mathcal D}(x)\le\mathbb E_\varepsilon L_{\mathcal D}(x+\varepsilon)$. Then, with probability $1-\delta$ over the training samples,
# >
# > $$L_{\mathcal D}(x)\;\le\;\mathbb E_\varepsilon L(x+\varepsilon)+C\;\le\;\max_{\lVert\varepsilon\rVert\le\rho}L(x+\varepsilon)+C',$$
# >
# > where $C$ and $C'$ depend on $\lVert x\rVert/\rho$, $n$, δ and the number of parameters, and not on the sharpness of $L$ at $x$.
#
# The first inequality comes from the PAC-Bayes theorem, and contains the *average* direction. The second one only says that a mean is at most a maximum ($C'$ also covers the rare noise that is longer than ρ): the proof does not need the worst direction.
#
# What the bound does *not* say:
#
# - that a flatter network has a smaller test loss. It is an upper bound, and for large networks it is often above 1. Rescaling a network can make a minimum arbitrarily sharp without changing a prediction (Dinh et al. 2017), and some of the flattest minima do not generalize (Wen, Li & Ma 2023, a later paper by the same authors);
# - which point of Γ the algorithm reaches. That is the question of this tutorial.
#
# It matters because the bound is about the average direction. An algorithm that minimizes another notion may end at another point of Γ than the one that the bound favors.
#
# **Conclusion.** All points of Γ have the same training loss, so the loss alone does not decide where an optimizer ends. SAM moves along Γ to points with a smaller λ₁, although each of its steps uses only a gradient and no second derivative. Three notions of sharpness occur in SAM: in its objective, in its algorithm, and in the bound that motivates it. A smaller λ₁ alone does not show which of them SAM minimizes: the other eigenvalues may fall, too. Next: [01_alignment](01_alignment.ipynb) looks at the jumps across the valley.
#
# Where each sentence of the paper's abstract is treated: see [Going deeper](00_start_here.ipynb#Each-sentence-of-the-abstract).
#
# ## Exercises
#
# **1.** Write one step of SAM (Eq. 3). `gradient` is a function of the parameters.

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
#
# **2.** In one dimension let $L=\tfrac12\lambda_1x^2$, so that $\nabla L=\lambda_1x$. SAM does not converge to 0 there: it ends by jumping between $a$ and $-a$. Which $a>0$ is it?


# %%
def amplitude(lr, rho, top):
    return ...  # your formula


check("amplitude", amplitude)

# %% [markdown]
# <details><summary>Solution</summary>
#
# At $x=a$ the gradient is computed at $a+\rho$, so the step leads to $a-\eta\lambda_1(a+\rho)$. Set this equal to $-a$: then $(2-\eta\lambda_1)\,a=\eta\rho\lambda_1$.
#
# ```python
# def amplitude(lr, rho, top):
#     return lr * rho * top / (2 - lr * top)
# ```
#
# </details>
#
# **3.** A network has $D$ parameters. At a point of Γ, $M$ eigenvalues of its Hessian are positive and the other ones are 0. You know only $\lambda_1$, $M$ and $D$. Between which two values must the average-direction sharpness, divided by ρ², lie?


# %%
def average_bounds(top, rank, dim):
    return ...  # (lowest, highest), with top = λ₁, rank = M and dim = D


check("average_bounds", average_bounds)

# %% [markdown]
# <details><summary>Solution</summary>
#
# The limit is half of the mean of all $D$ eigenvalues. Their sum lies between $\lambda_1$, if the other positive ones are tiny, and $M\lambda_1$, if all $M$ are equal.
#
# ```python
# def average_bounds(top, rank, dim):
#     return top / (2 * dim), rank * top / (2 * dim)
# ```
#
# </details>
#
# **4.** All points of Γ have the same training loss. Why can it still matter which of them an optimizer reaches, and why does this not yet say which sharpness it should minimize?

# %%
check("start_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Four questions. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("start")

# %% [markdown]
# ## Going deeper
#
# ### The bound in full
#
# With $k$ parameters, the statement of Foret et al. (2021, Theorem 2 in appendix A.1) has
#
# $$C'=\sqrt{\frac{k\ln\!\Big(1+\frac{\lVert x\rVert^2}{\rho^2}\big(1+\sqrt{\ln(n)/k}\big)^2\Big)+4\ln\frac n\delta+\tilde O(1)}{n-1}},$$
#
# where $\tilde O(1)$ hides logarithms of $n$ and $k$. The proof compares two Gaussian distributions of parameters: one around 0, which does not depend on the data, and one around $x$ with standard deviation σ. The PAC-Bayes theorem bounds the expected loss under the second one by the training loss under it, plus a term with their Kullback–Leibler divergence, which contains $k\ln(1+\lVert x\rVert^2/(k\sigma^2))$. Then σ is chosen so small that the noise is shorter than ρ with probability $1-1/\sqrt n$, and the mean is replaced by the maximum. The authors expect the assumption to hold for the result of training, and say that it need not hold for every $x$. The bound exceeds 1, and says nothing, when $k\ln(1+\lVert x\rVert^2/\rho^2)$ is larger than $4n$; this is typical when there are more parameters than samples.
#
# ### Each sentence of the abstract
#
# The abstract of *How Does Sharpness-Aware Minimization Minimize Sharpness?* (Wen, Ma & Li 2023) has eight sentences:
#
# | sentence of the abstract | notebook |
# |---|---|
# | 1. SAM is a highly effective regularization technique | here; [08](08_your_own_model.ipynb) measures it on a model of your own |
# | 2. How it works remains elusive, because its theory uses intriguing approximations | [04](04_two_wrongs_make_a_right.ipynb) takes the two approximations apart: the worst direction is replaced by that of the gradient, and this direction is not differentiated |
# | 3. It intends to penalize one notion of sharpness, implements a variant, and a third notion is used for the guarantees | sections 2 and 4 |
# | 4. The differences between the notions lead to significantly different results | [03](03_three_sharpnesses.ipynb): three notions, three different minimizers |
# | 5. The exact notion that SAM regularizes, and the mechanism | [02](02_why_sharpness_decreases.ipynb): alignment lowers λ₁ |
# | 6. The two approximations are individually inaccurate, and together correct for full batches | [04](04_two_wrongs_make_a_right.ipynb) |
# | 7. Stochastic SAM regularizes the third notion, most likely the preferred one in practice | [05](05_one_sample_at_a_time.ipynb) |
# | 8. The key mechanism is the alignment of the gradient with the top eigenvector | [01](01_alignment.ipynb) |
#
# [06](06_where_the_theory_ends.ipynb) shows where each assumption ends, and [07](07_loss_landscapes.ipynb) how pictures of a loss mislead.
#
# ### One theorem, predicted and measured
#
# Exercise 2 in more dimensions is Theorem 4.8, the subject of the next notebook. The library predicts and measures the same number:

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
# ### Two more experiments in the lab
#
# **When λ₁ meets λ₂.** λ₁ = 15.4 falls, and the second eigenvalue, λ₂ = 9.5, falls more slowly. What happens to the cosine with $v_1$ when they meet? Choose the preset *SAM, large ρ (its edge)* and let it take 3,000 steps.
#
# <details><summary>What you see</summary>
#
# From then on both fall together. $v_1$ is no longer a single direction, so its cosine jumps, and the oscillation in the picture turns. The gradient still lies in the plane of the two top eigenvectors: the mechanism works, but the assumption λ₁ > λ₂ no longer holds. [06](06_where_the_theory_ends.ipynb) continues here.
#
# </details>
#
# **One sample at a time.** Full-batch SAM and SAM with batch size 1 start at this minimum with η = ρ = 0.02, and take 10,000 steps each. Which of them ends with the smaller trace (the sum of all eigenvalues of the Hessian)?
#
# <details><summary>What you see</summary>
#
# Batch size 1: 16.9 against 18.9 ([05](05_one_sample_at_a_time.ipynb) measures this). Both lower λ₁ and the trace, but only 1-SAM descends on the trace itself; 05 explains why.
#
# </details>
#
# ### The other controls of the lab
#
# They are behind the button **More**.
#
# | control | what it does |
# |---|---|
# | plane, Re-centre | the two directions of the picture of the loss; Re-centre puts the iterate in its middle |
# | timeline, below the curves | drag it to look back at an earlier step; Play or Step continues from there, with the run so far as the ghost |
# | slow motion | shows what each step computes, part by part: the gradient, the perturbed point, the gradient there, and the step |
# | ghost of the last run | keeps the run before the last Reset in grey |
# | Share | this run as one line of text; paste another line there and press Enter to get the same run |
# | landscape in 3-D | the loss over the plane as a surface, which you can turn |
# | Save: CSV, PNG, Film | the measurements, the plots as they are now, or a film of the plots while they move |
# | Full screen | the most important plots in large type, for a lecture hall; the key f does the same |
# | ? | the tour of the lab |
#
# A dashed line in the curves marks a change that you made. `lab.run(500).static()` shows a static picture in place of the lab.
