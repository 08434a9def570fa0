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
# # One sample at a time
#
# **16 minutes.** Goal: see what SAM minimizes if each step uses a single sample. So far every step used the whole data set, and SAM minimized $\lambda_1$, the limit of the first of the three notions of sharpness. In practice the batches are small, and the generalization bound is about another notion, the average direction. For the full batch the question of [00](00_start_here.ipynb) is answered: SAM minimizes the worst-direction notion. This notebook asks it again for one sample per step.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. Where does it end?
#
# The loss is the valley of [03](03_three_sharpnesses.ipynb), $L=F_1x_3^2+F_2x_4^2$. It is the mean of two samples, $L_1=2F_1x_3^2$ and $L_2=2F_2x_4^2$. **1-SAM** draws one sample $k$ in each step and takes SAM's step on $L_k$ (Eq. 17). Click where it ends.

# %%
from samviz.panels import one_sample_panel

panel = one_sample_panel()
panel

# %% [markdown]
# <details><summary>What you see</summary>
#
# With all samples SAM ends at (0, 0), where λ₁ is smallest, 16. On the way the trace first falls and then rises again to 28. With one sample SAM ends near (0.8, 1/7), where the trace of the Hessian is smallest, 21.3. There λ₁ is 17.5, larger than at SAM's end. The finite η shifts the end a little. Drag the start: both ends stay.
#
# (Theorem 5.4 in section 3 assumes a small ρ, and ρ = 0.3 is not small. This does no harm here, because the loss is exactly quadratic in $x_3$ and $x_4$, so that a change of ρ only rescales them.)
#
# </details>
#
# ## 2. Why: the Hessian of one sample has rank one
#
# Let $f_k(x)$ be the output of the network for sample $k$, $y_k$ its target, $n$ the number of samples, and $L_k=\tfrac12(f_k-y_k)^2$. (The valley has this form, with $f_1=2\sqrt{F_1}\,x_3$, $f_2=2\sqrt{F_2}\,x_4$ and $y_k=0$.) At a point of Γ that fits every sample (*interpolation*), $f_k=y_k$. We write $\lambda^{(k)}(x)$ for the largest eigenvalue of $\nabla^2L_k(x)$, and $\partial\Phi$ for the projection on the directions along Γ. Differentiate twice:
#
# $$\begin{aligned}
# \nabla L_k &= (f_k-y_k)\,\nabla f_k,\\
# \nabla^2L_k &= \nabla f_k\nabla f_k^\top+(f_k-y_k)\nabla^2f_k \;\approx\; \nabla f_k\nabla f_k^\top \quad\text{near }\Gamma: \text{ rank one, with eigenvector } \nabla f_k,\\
# \text{drift of sample } k &= -\tfrac12\eta\rho^2\,\partial\Phi\,\nabla\lambda^{(k)} \quad\text{as in notebook 02, since } \nabla L_k \parallel v_1(\nabla^2L_k),\\
# \text{mean drift} &= -\tfrac12\eta\rho^2\,\partial\Phi\,\nabla\operatorname{Tr}(\nabla^2L),\quad\text{since on }\Gamma\ \tfrac1n\textstyle\sum_k\lambda^{(k)}=\tfrac1n\sum_k\operatorname{Tr}(\nabla^2L_k)=\operatorname{Tr}(\nabla^2L).
# \end{aligned}$$
#
# The terms of lower order point along $\nabla f_k$, which is normal to Γ, so $\partial\Phi$ removes them in each step: no two steps have to cancel. In short: because its Hessian has rank one, the gradient of one sample is aligned at every step without waiting (line 2), and 1-SAM descends on the trace (line 4). Check it on a network with 19 parameters that passes through $n=5$ points.

# %%
import numpy as np
import torch

from samviz.claims.subjects import interpolating
from samviz.geometry import alignment, hessian_trace, top_eigenpairs

problem, x = interpolating()  # the network, and a point of Γ
one = torch.arange(5)[:, None]  # five batches of one sample

# %%
# NBVAL_CHECK_OUTPUT
values = top_eigenpairs(problem, x.expand(5, -1), 2, batch=one).values
print("λ₁ of each sample:", values[:, 0].numpy().round(2), " λ₂ below 1e-7:", bool(values[:, 1].abs().max() < 1e-7))
print(f"trace of L: {values[:, 0].mean():.3f} predicted, {hessian_trace(problem, x).value.item():.3f} measured")

# %%
# NBVAL_CHECK_OUTPUT
off = x + 0.001 * torch.tensor(np.random.default_rng(0).normal(size=19))  # a random step away from Γ
print("|cos(∇L_k, v₁)| of each sample:", alignment(problem, off.expand(5, -1), batch=one).cos_v1.numpy().round(3))
print(f"|cos(∇L, v₁)| of the whole loss: {alignment(problem, off).cos_v1.item():.2f}")

# %% [markdown]
# ## 3. This is the notion in the generalization bound
#
# > **Lemma 5.5, Theorems 5.3 and 5.4, Corollaries 5.6 and 5.7** (Wen, Ma & Li 2023). *Assume* Setting 5.1: $L$ is the mean of $n$ losses $\ell(f_k(x),y_k)$ with scalar outputs, there are fewer samples than parameters, Γ is the set where all samples are fitted, and everything is smooth. *Then*
# > 1. (Lemma 5.5) $\nabla^2L_k$ has rank one on Γ, and next to Γ the gradient $\nabla L_k$ is aligned with the top eigenvector of $\nabla^2L_k$;
# > 2. (Theorem 5.3) the three notions, taken for each sample and averaged over the samples, have the limits $\operatorname{Tr}/2$, $\operatorname{Tr}/2$ and $\operatorname{Tr}/(2D)$: *one* explicit bias;
# > 3. (Theorem 5.4) for small η and ρ, 1-SAM first follows the gradient flow of $L$ to Γ, and then $dX/d\tau=-\tfrac12\,\partial\Phi(X)\,\nabla\operatorname{Tr}(\nabla^2L(X))$ with $\tau=\eta\rho^2t$ after $t$ steps (Eq. 18). The error is $O(\sqrt\eta+\rho)$ up to logarithms;
# > 4. (Corollaries 5.6, 5.7) along this flow the mean worst-direction sharpness of the samples is $\tfrac12\rho^2\operatorname{Tr}(\nabla^2L)$, up to errors that vanish with η and ρ. If the flow converges to a point where the trace is smallest, 1-SAM minimizes this sharpness.
#
# Of the three notions of the *whole* loss, only the average direction has the trace as its limit (Theorem 4.2). The proof of the bound of Foret et al. (2021) adds Gaussian noise to the parameters, so it contains the average direction, too. 1-SAM, the stochastic SAM of the abstract, takes no mean over directions. But it descends on the limit of the average-direction sharpness, and in this sense it regularizes the third notion. The paper calls it "most likely to be the preferred notion for practical performance". SAM is often run with a separate perturbation for each small group of samples. In experiments smaller groups, which are closer to 1-SAM, generalized better (Foret et al. 2021; Andriushchenko & Flammarion 2022).
#
# ## 4. Try to break it: two or more samples per step
#
# Now $x$ has two components, and each of six samples has the loss $L_k=\tfrac12\lambda^{(k)}(a_k^\top x)^2$ with its own unit vector $a_k$, so that its Hessian has rank one. Example 5.8 of the paper has two quadratics; this set of six is ours. $L_B$ is the mean of the samples in a batch $B$. On the left each dot is a step: its horizontal position is the direction of the batch's $v_1$, and its height the angle from $v_1$ to $\nabla L_B$.

# %%
from samviz.panels import alignment_panel

panel2 = alignment_panel()
panel2

# %% [markdown]
# <details><summary>What you see</summary>
#
# With one sample the gradient is exactly aligned, because the rank is one. With all six it is aligned, because every step has the same Hessian (Theorem 4.8). With 2 to 5 samples each batch has its own $v_1$, and the next step has another batch before the gradient has turned. A smaller ρ changes nothing: for $z=x/\rho$ and the Hessian $A$ of a batch, the step is $z\leftarrow z-\eta A(z+Az/\lVert Az\rVert)$, without ρ. If each sample has a second eigenvalue (slider *λ₂/λ₁ of a sample*), even one sample is not aligned. Two things align the gradient: a Hessian of rank one, or the same Hessian in every step. Batches between one and all have neither. (This set has more samples than parameters. It shows the alignment only, and not the drift.)
#
# </details>
#
# **Conclusion.** With one sample per step, the gradient is aligned with the top eigenvector of *its own* Hessian, because that Hessian has rank one. SAM then lowers the mean of the samples' $\lambda_1$, which is the trace. So full-batch SAM minimizes the first notion of sharpness, and SAM with *one* sample per step the third, the one in the bound. For the batch sizes in between, which are those of practice, this paper has no theorem.
#
# Next: [06_where_the_theory_ends](06_where_the_theory_ends.ipynb) shows what happens when a hypothesis does not hold.
#
# ## Exercises
#
# **1.** The loss is half the mean square error of a network with one output, at a minimum that interpolates. `slopes` is an array $(n, D)$ whose rows are the $\nabla f_k$. Return the trace of the full-batch Hessian without building a Hessian.

# %%
from samviz.course import check


def trace_from_slopes(slopes):
    return ...  # your formula


check("trace", trace_from_slopes)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def trace_from_slopes(slopes):
#     return (slopes**2).sum(axis=1).mean()
# ```
#
# Each $\nabla f_k\nabla f_k^\top$ has the trace $\lVert\nabla f_k\rVert^2$, which is also its λ₁, and the loss is the mean of the samples. At a minimum that interpolates, the trace costs one Jacobian.
#
# </details>
#
# **2.** The data set of section 1 now contains $a$ copies of the first sample, $2F_1x_3^2$, and $b$ copies of the second, $2F_2x_4^2$. Where on the floor does 1-SAM end? ($F_1=x_1^2+6x_2^2+8$, $F_2=4(1-x_1)^2+(1-x_2)^2+1$.)


# %%
def end_with_copies(a, b):
    return ...  # the pair (x₁, x₂)


check("copies", end_with_copies)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def end_with_copies(a, b):
#     return 4 * b / (a + 4 * b), b / (6 * a + b)
# ```
#
# The trace is proportional to $aF_1+bF_2$. Its derivative by $x_1$ is $2ax_1-8b(1-x_1)$, and by $x_2$ it is $12ax_2-2b(1-x_2)$. At each point full-batch SAM descends only on the larger of $aF_1$ and $bF_2$; if both become equal, its theorem no longer applies.
#
# </details>
#
# **3.** Answer in one or two sentences between the quotation marks: Why is 1-SAM aligned from the first step near Γ, while full-batch SAM needs some steps to align?

# %%
check("one_sample_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Choose an answer, and read why it is right or wrong. Nothing is sent or stored outside this notebook.

# %%
from samviz.lab import quiz

quiz("one_sample")

# %% [markdown]
# ## Going deeper
#
# ### Three notions, one bias: Theorem 5.3
#
# For the whole loss the three notions have three limits. **Question**: take each notion for one sample, and then the mean over the samples. What are the three limits of $R_\rho/\rho^2$? The one non-zero eigenvalue of a sample is its largest, its smallest non-zero and the sum of all.

# %%
from samviz.geometry import ascent_direction_sharpness, average_direction_sharpness, worst_direction_sharpness

near = x + 1e-7 * torch.tensor(np.random.default_rng(0).normal(size=19))  # on Γ itself there is no ascent direction
notions = worst_direction_sharpness, ascent_direction_sharpness, average_direction_sharpness

# %%
# NBVAL_CHECK_OUTPUT
trace = hessian_trace(problem, x).value.item()
for R, formula, predicted in zip(notions, ("Tr/2", "Tr/2", "Tr/(2D)"), (trace / 2, trace / 2, trace / 38)):
    measured = R(problem, near, 0.001, stochastic=True).value.item() / 0.001**2
    print(f"{R.__name__}: {formula} = {predicted:.3f}, measured {measured:.3f}")

# %% [markdown]
# ### Every batch size from one minimum
#
# The network of section 2 starts at a point of Γ. Twelve runs for each batch size differ in the samples that are drawn. **Predict** which batch sizes lower λ₁ least: choose an answer in the panel.

# %%
from samviz.panels import batch_panel

panel3 = batch_panel()
panel3

# %% [markdown]
# <details><summary>What you see</summary>
#
# One sample lowers both λ₁ and the trace most. All five are second. With 2, 3 and 4 samples both decrease less, by many standard errors. All five samples lie on the line of Eq. 7. One sample lies *above* the line of Eq. 18: it lowers the trace by 7 % more. The reason is the finite η, see below; the difference becomes smaller when you lower η. That batches of 2 to 4 are slower fits their misalignment: if $u=\nabla L_B/\lVert\nabla L_B\rVert$ is not $v_1$, then $u^\top\nabla^2L_B\,u$ is smaller than λ₁ of the batch.
#
# </details>
#
# ### How small must η be? (our result)
#
# When sample $k$ is drawn, the iterate jumps along $v_1(\nabla^2L_k)$ as in Theorem 4.8, from one side of the minimum to the other, between points at distance $\eta\rho\lambda^{(k)}/(2-\eta\lambda^{(k)})$ from it. SAM evaluates its gradient ρ further up, at distance $2\rho/(2-\eta\lambda^{(k)})$ instead of ρ. So the drift of sample $k$ is stronger than in the limit by the factor $c_k=(2/(2-\eta\lambda^{(k)}))^2$, and the sharper sample counts more. This requires that the $\nabla f_k$ are orthogonal, as on the valley. There the eigenvalues of the two samples are $\lambda^{(1)}=4F_1$ and $\lambda^{(2)}=4F_2$, twice those of their mean $L$. The end of the run solves $c_1\nabla F_1+c_2\nabla F_2=0$: there $\sum_k1/(2-\eta\lambda^{(k)})$ is smallest.

# %%
from samviz.dynamics import Run
from samviz.problems import valley

# %%
rates = np.array([0.02, 0.01, 0.005])
x1, x2 = 0.8, 1 / 7  # solve the equation by iteration
for _ in range(50):
    F1, F2 = x1**2 + 6 * x2**2 + 8, 4 * (1 - x1) ** 2 + (1 - x2) ** 2 + 1
    c1, c2 = (2 / (2 - 4 * rates * F1)) ** 2, (2 / (2 - 4 * rates * F2)) ** 2
    x1, x2 = 4 * c2 / (c1 + 4 * c2), c2 / (6 * c1 + c2)

# %%
# NBVAL_CHECK_OUTPUT
run = Run(valley(), "sam", rates, rho=0.1, batch_size=1, x0=[[0.8, 1 / 7, 0.1, 0.1]] * 3, trail=6000)
run.step(10000)
mean = torch.stack(list(run.trail)).mean(0)  # of the last 6000 iterates, which fluctuate
for i in range(3):
    print(f"η = {rates[i]:g}: predicted ({x1[i]:.2f}, {x2[i]:.2f}), measured ({mean[i, 0]:.2f}, {mean[i, 1]:.2f})")

# %% [markdown]
# ### One sample and all samples at equal τ
#
# Two runs can be compared only at the same time $\tau=\eta\rho^2t$ and from the same start. The network has learned a sine from 20 points; eight runs of 1-SAM differ in the samples that are drawn. **Question**: which ends with the smaller trace, and has 1-SAM left the minimum?

# %%
from samviz.dynamics import gradient_descent_minimum
from samviz.problems import mlp

sine = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
start = gradient_descent_minimum(sine)
single = Run(sine, "sam", lr=0.02, rho=0.02, batch_size=1, x0=start.expand(8, -1), seed=[*range(8)], device="cpu")
full = Run(sine, "sam", lr=0.02, rho=0.02, x0=start, device="cpu")

# %%
# NBVAL_CHECK_OUTPUT
for name, run in (("one sample", single), ("all samples", full)):
    run.step(10000)  # τ = 0.08
    values, loss = hessian_trace(sine, run.x).value.numpy(), run.problem.loss(run.x).numpy()
    error = f" ± {2 * values.std(ddof=1) / 8**0.5:.1f}" if len(values) > 1 else ""
    print(f"{name}: trace {values.mean():.1f}{error}, loss below 1e-3: {bool(loss.max() < 1e-3)}")

# %% [markdown]
# The lab shows a run with any batch size. It starts with batch size 1; Reset keeps the run before as a grey curve. At its η = 0.05 and ρ = 0.1 the loss rises to about $10^{-2}$: this run does not stay near Γ, so Theorem 5.4 does not describe it. Set both to 0.02 for the comparison above.

# %%
from samviz.lab import Lab

lab = Lab(sine, lr=0.05, rho=0.1, batch_size=1)
lab

# %% [markdown]
# ### Why the paper's theorems do not cover the batch sizes between one and all
#
# On a batch $B$ the drift along Γ is $-\tfrac12\eta\rho^2\,\partial\Phi\,\nabla^3L_B[u,u]$ with $u=\nabla L_B/\lVert\nabla L_B\rVert$. To find what it minimizes, one has to know $u$.
#
# | batch | what determines $u$ | so $\nabla^3L_B[u,u]$ is | mean over batches |
# |---|---|---|---|
# | one sample | rank one: $u=\pm v_1(\nabla^2L_k)$ at once | $\nabla\lambda_1(\nabla^2L_k)$ | $\nabla\operatorname{Tr}(\nabla^2L)$ |
# | all | the same matrix in every step turns $u$ to $\pm v_1$ | $\nabla\lambda_1(\nabla^2L)$ | the same |
# | between | neither | not a gradient of an eigenvalue | not in the paper |
#
# Between one and all, $u$ depends on where the last batches have left the iterate, and not only on the point of Γ. In our opinion one would have to show three things: that the offset $x/\rho$ across Γ settles into one stationary distribution, which changes smoothly along Γ; that over $\Theta(1/(\eta\rho^2))$ steps the drift averages to its mean under this distribution; and that this mean is the gradient of a function, because only then is there a sharpness that is minimized.
