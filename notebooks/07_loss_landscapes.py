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
# # Loss landscapes: how a picture can mislead
#
# **30 minutes**, optional. Papers show pictures of the loss around a minimum as evidence that a method finds flat minima. Such a picture shows two dimensions of thousands, and its author chooses them. The goal: make the same two minima look flat or sharp, and learn what has to be stated next to such a picture. Then you draw your own model.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. Two minima, and one of them rescaled
#
# We train a ReLU network with 673 parameters twice from one start: with gradient descent, and with SAM at ρ = 0.1. Both runs end with gradient descent, so both reach a minimum of the training loss $L$. The largest eigenvalue λ₁ of the Hessian of $L$ is 19.3 at the first minimum and 3.74 at the second.
#
# **Predict**: the panel shows the loss around both minima, in a plane of two random directions. Which minimum looks flatter after SAM's network is rescaled by α = 8? (A rescaling by α multiplies the first layer by α and divides the weights of the second layer by α, so that the function of the network stays the same; see section 2.)

# %%
from samviz.panels import landscapes_panel

panel = landscapes_panel()
panel

# %% [markdown]
# Both planes have the same contours: where they are dense, the loss is steep. Dark colours mean a low loss.
#
# **Try to break it.** Set α = 1 and switch filter normalization on: the unit of length is then the length of the network's own weights. Then try these:
#
# - Move the radius from 0.05 to 5. Is SAM's minimum always the flatter one, and by the same factor?
# - Switch filter normalization off again. Which radius gives about the same picture as before?
# - Choose the plane of $v_1$ and $v_2$, the two top eigenvectors of the Hessian, at the radii $r=0.1$ and 1. How does the increase of the loss along $v_1$ compare with $\lambda_1r^2/2$?
# - Press *other random directions* ten times. How much can you change the ratio of the two increases?
#
# <details><summary>What you see</summary>
#
# - After the rescaling with α = 8, SAM's minimum looks sharper. Its λ₁ is 85.6, although the network computes the same function.
# - With α = 1, SAM's minimum stays the flatter one, but the factor changes with the radius. Close to the minimum, a picture shows its curvature. Far away the loss is not quadratic, and the picture says little about the minimum.
# - A filter-normalized direction has the length of the weights, here about 5. The other random directions have length 1, so a radius that is about five times as large gives about the same picture. A picture without its unit of length says nothing.
# - At the radius 0.1 the increase agrees with $\lambda_1r^2/2$ within 2 %. At the radius 1 the measured increase of gradient descent is 10 to 20 % smaller.
# - The ratio varies from one sixth to about one. Some planes do not show the difference at all. One plane is a sample of size one.
#
# </details>

# %% [markdown]
# ## 2. The same function, with any sharpness
#
# The rescaling multiplies the first layer by α and divides the weights of the second layer by α. Since $\operatorname{relu}(\alpha z)=\alpha\operatorname{relu}(z)$ for α > 0, every output stays the same (Dinh et al. 2017). The second derivatives do not:
#
# - The output of the first layer is now α times as large. So as a function of the second layer's weights $w$, the new loss at $w$ is the old loss at $\alpha w$.
# - So each derivative by $w$ has a factor α, and the second layer's block of the Hessian is multiplied by α².
# - λ₁ is at least as large as the largest eigenvalue of any block of the Hessian.
#
# Therefore λ₁ becomes arbitrarily large. **From which α on, at the latest, is SAM's minimum sharper than that of gradient descent?**

# %%
import torch

from samviz.geometry import landscape, pca_plane, projected, random_plane, top_eigenpairs
from samviz.panels.landscape_planes import rescaled, trained

relu, checkpoints = trained()  # checkpoints (2 runs, 51, 673)
gd, sam = checkpoints[:, -1]

# %%
second = slice(48, 48 + 24 * 24)  # after 24 weights and 24 biases
block = torch.linalg.eigvalsh(relu.hessian(sam[None])[0, second, second])[-1].item()

# %%
# NBVAL_CHECK_OUTPUT
sharp = top_eigenpairs(relu, gd).values.item()
alpha = (sharp / block) ** 0.5
rescaled_sam = rescaled(relu, sam, alpha)
print(f"predicted: at α = {alpha:.2f}, λ₁ is at least {sharp:.1f}")
print(f"measured: at this α, λ₁ = {top_eigenpairs(relu, rescaled_sam).values.item():.1f}")
print(f"the loss is the same to 1e-12: {abs(relu.loss(rescaled_sam[None]) - relu.loss(sam[None])).item() < 1e-12}")

# %% [markdown]
# The statement "flat minima generalize" cannot be about the number λ₁ alone, because the same function has an arbitrarily large λ₁ at other parameters. The theorems of this tutorial are about the parameters that an optimizer reaches. An optimizer does not jump by a rescaling. But SAM can drift along one, towards the flattest member of the family (exercise 2): this changes λ₁ and not the function.
#
# ## 3. What filter normalization corrects
#
# A *filter* is the vector of a neuron's incoming weights. Filter normalization scales each part of a random direction to the length of the corresponding filter of the network (Li et al. 2018). If α multiplies the weights of a neuron, it also multiplies the direction. **How much does α = 4 change the picture with filter normalization, and how much without it?**

# %%
# NBVAL_CHECK_OUTPUT
for normalization in ("filter", "none"):
    before, after = (
        landscape(relu, random_plane(relu, x, normalization=normalization), radius=0.5, resolution=21).loss
        for x in (sam, rescaled(relu, sam, 4.0))
    )
    print(f"{normalization}: the loss in the picture changes by at most {100 * abs(after / before - 1).max():.0f} %")

# %% [markdown]
# With filter normalization the picture does not change at all. ASAM, a variant of SAM, applies the same idea to SAM's perturbation: it measures ρ relative to the size of each weight. You can see the same in the panel: choose the random directions, set α to 6 and switch the normalization.
#
# Filter normalization corrects only this one symmetry. It does not make two different networks comparable, and we apply it to random directions only: a Hessian direction or a PCA direction has its own length.
#
# ## 4. Projection: where did the path go?
#
# A trajectory of training has 673 dimensions, and a picture has two. **How much of the distance from the start to the minimum does a random plane not show?** On average, a plane in $D$ dimensions contains the fraction $2/D$ of a squared length. So $\sqrt{1-2/D}$ of the length is off the plane.

# %%
# NBVAL_CHECK_OUTPUT
planes = [random_plane(relu, gd, seed=seed, normalization="none") for seed in range(50)]
off = torch.tensor([plane.project(checkpoints[0, :1])[1][0] for plane in planes])
print(f"predicted: {(1 - 2 / relu.dim) ** 0.5:.2%} off the plane")
print(f"measured: {off.mean():.2%} ± {off.std() / 50**0.5:.2%}, mean over 50 planes")

# %% [markdown]
# In a random plane every trajectory looks like a dot, and the loss that is drawn around it is not the loss that the run has seen. Therefore people choose the plane of the trajectory's first two principal components (PCA), which contains as much of its variance as a plane can. **Does this plane show the loss at the start correctly?**

# %%
# NBVAL_CHECK_OUTPUT
seen = projected(relu, pca_plane(checkpoints[1]), checkpoints[1])
print(f"{seen.lost[0]:.0%} of the distance to the start is off the plane")
print(f"the loss at the start is {seen.loss[0]:.3f}, and the plane shows {seen.shown[0]:.3f}")

# %% [markdown]
# Not well: the plane shows less than half of the loss at the start. Even a plane that contains 98 % of the *variance* of a trajectory misses $\sqrt{1-0.98}$, or about 14 %, of the *length*. There is a second caution: every trajectory looks like a smooth curve with a direction in its own PCA plane. **A random walk has no goal. What fraction of its variance does the first principal component explain in 2,000 dimensions?**
#
# The theory gives $6/\pi^2=61\,\%$ for the first component, a quarter of that for the second, and a ninth for the third. The components are cosines of increasing frequency (Antognini & Sohl-Dickstein 2018).

# %%
# NBVAL_CHECK_OUTPUT
random_walk = torch.randn(400, 2000, generator=torch.Generator().manual_seed(0)).cumsum(0)
print("predicted: 61 % and 15 %; measured:", *pca_plane(random_walk).labels)

# %% [markdown]
# ## 5. Your own model
#
# `landscape_of(model, loss_fn, data)` computes the loss around the present parameters of a torch model. The directions are `"random"`, `"hessian"` or `"pca"`, or they lead to other checkpoints of the model: one checkpoint gives a line, and two give a plane. As an example, we train two networks with BatchNorm from two seeds.

# %%
from torch import nn

from samviz.geometry import landscape_of
from samviz.panels import slice_panel
from samviz.problems import load

images, labels = (torch.tensor(array[:500]) for array in load("digits"))
images = images.float()


# %%
def step(model, optimizer):
    some = torch.randint(500, (50,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images[some]), labels[some]).backward()
    optimizer.step()
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}  # a checkpoint


# %%
torch.set_num_threads(1)  # a network this small is not faster on two threads
models, paths = [], []
for seed in (0, 1):
    torch.manual_seed(seed)
    models.append(nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)))
    optimizer = torch.optim.SGD(models[-1].parameters(), lr=0.1)
    paths.append([step(models[-1], optimizer) for _ in range(200)])

# %% [markdown]
# The next picture shows the line from the first network (0) to the second one (1). **What is the loss at 1?** It should be the loss of the second network. But the running statistics of BatchNorm are not parameters. On the whole line they stay those of the first network, unless they are recomputed at each point.

# %%
# NBVAL_CHECK_OUTPUT
data, loss_fn = (images, labels), nn.CrossEntropyLoss()
line = {"directions": paths[1][-1], "checkpoints": paths[1][-1:], "radius": 1.0, "resolution": 41}
still = landscape_of(models[0], loss_fn, data, **line)
renewed = landscape_of(models[0], loss_fn, data, recompute=True, **line)
print(f"statistics kept: true loss {still.trajectory.loss[0]:.2f}, on the line {still.loss[0, -1]:.2f}")
print(f"recomputed:      true loss {renewed.trajectory.loss[0]:.2f}, on the line {renewed.loss[0, -1]:.2f}")

# %%
slice_panel({"kept": still, "recomputed": renewed})

# %% [markdown]
# More than half of the increase along the line is an effect of the wrong statistics. The last picture shows the trajectory of the first network in its own PCA plane, with every tenth step:

# %%
own = landscape_of(
    models[0], loss_fn, data, directions="pca", checkpoints=paths[0][::10], recompute=True, resolution=21
)
slice_panel(own)

# %% [markdown]
# The sentence above the picture states two of the things that belong next to such a picture: the fraction of the distance that is off the plane, and the true loss. The conclusion lists the others.
#
# ## Conclusion
#
# A picture of a minimum depends on the unit of length, on the radius and on the plane, and none of them is a property of the minimum. The number λ₁ depends on the parameters and not only on the function. So state the unit, the radius and how many planes you have looked at. State how much of a trajectory is off the plane, and recompute the statistics of BatchNorm wherever the parameters change.
#
# Next: [08_your_own_model](08_your_own_model.ipynb) measures sharpness during the training of a model of your own.
#
# ## 6. Exercises
#
# **1.** A loss depends on two weights $a$ and $b$, and has the symmetry $L(\alpha a,b/\alpha)=L(a,b)$. Given its Hessian at $(a,b)$, compute the Hessian at $(\alpha a,b/\alpha)$.

# %%
from samviz.course import check


def rescaled_hessian(hessian, alpha):
    return ...  # your formula


check("rescaled_hessian", rescaled_hessian)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import numpy as np
#
#
# def rescaled_hessian(hessian, alpha):
#     scale = np.array([alpha, 1 / alpha])
#     return hessian / np.outer(scale, scale)
# ```
#
# </details>
#
# **2.** The simplest loss with this symmetry is $L(a,b)=\tfrac12(ab-1)^2$. Its minimizers are the points $(a,1/a)$, and all of them compute the same function. Compute λ₁ of the Hessian at $(a,1/a)$. Which of these points is the flattest?


# %%
def product_sharpness(a):
    return ...  # your formula


check("product_sharpness", product_sharpness)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def product_sharpness(a):
#     return a**2 + 1 / a**2
# ```
#
# The Hessian at a minimizer is $vv^\top$ with $v=(1/a,a)$, the gradient of $ab-1$. The flattest minimizers are $a=1$ and $a=-1$, and full-batch SAM moves towards them.
#
# </details>
#
# **3.** Answer in one or two sentences between the quotation marks: A paper shows one picture: the loss in a random plane around a minimum of SAM looks flatter than around a minimum of SGD. What must the authors state before you can conclude anything from it?

# %%
check("landscapes_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Four questions. Each answer gets feedback as soon as you choose it. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("landscapes")
