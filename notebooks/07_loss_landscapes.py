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
# # Loss landscapes: how a picture can lie
#
# **30 minutes.** Goals:
#
# - see the same two minima, one of gradient descent and one of SAM, in four planes;
# - make each lie of such a picture yourself: normalization, radius, projection, scale symmetry;
# - know what to state beside a picture so that it does not lie;
# - draw your own model, with the checkpoints of its training, and with its BatchNorm handled.
#
# Before each experiment there is a question. Write your answer down first.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. Two minima, four planes
#
# A network with 673 parameters is trained twice from one start: by gradient descent, and by SAM with ρ = 0.1. Both end with gradient descent, so both are minima. A picture has two dimensions; the other 671 are left out.
#
# **Question: λ₁ of SAM's minimum is a fifth of the other. In which planes do you expect to see that? In which do you expect to see the path that led there?**

# %%
from samviz.panels import landscapes_panel

panel = landscapes_panel()
panel

# %% [markdown]
# The contours are the same in both pictures: more of them is steeper.
#
# **Try these, with a prediction first:**
#
# - *radius* from 0.05 to 5: does SAM's minimum stay the flatter one, and by the same factor?
# - *filter normalization* off, at the same radius: a unit of length is another one now. Which radius gives about the old picture back?
# - the plane of $v_1$ and $v_2$ at radius 0.1 and at 1: how does the rise along $v_1$ compare with $\lambda_1r^2/2$?
# - *other random directions*, ten times: how far can you move the ratio of the two rises by choosing?
#
# <details><summary>What you see</summary>
#
# - It stays flatter, but the factor changes. Near the minimum one sees its curvature; far away the loss is not quadratic, and the picture says little about the minimum.
# - A filter-normalized direction is as long as the weights, here 5; the others have length 1. So about five times the radius. A picture without its unit says nothing.
# - At 0.1 they agree within 2 %; at 1 the measured rise is 10 to 20 % less for gradient descent.
# - From a sixth to about one: some planes hide the difference altogether. One plane is a sample of one.
#
# </details>

# %% [markdown]
# ## 2. The same function, as sharp as you like
#
# Multiply the first layer of a ReLU network by α and divide the weights of the second by α. Since $\operatorname{relu}(\alpha z)=\alpha\operatorname{relu}(z)$, every output stays as it is (Dinh et al. 2017). In the panel choose the plane of $v_1$ and $v_2$ at radius 0.1 and move α.
#
# **Question: from which α on is SAM's minimum the sharper one?** The second layer's block of the Hessian is multiplied by α², and λ₁ is no less than the largest eigenvalue of any block.

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
moved = rescaled(relu, sam, alpha)
print(f"predicted: from α = {alpha:.2f} at the latest λ₁ exceeds {sharp:.1f}")
print(f"measured: λ₁ = {top_eigenpairs(relu, moved).values.item():.1f} there")
print(f"the loss is the same to 1e-12: {abs(relu.loss(moved[None]) - relu.loss(sam[None])).item() < 1e-12}")

# %% [markdown]
# So "flat minima generalize" cannot be about λ₁ as a number: the same function has it as large as you like. The theorems of this course are about the parameters that an optimizer reaches, and gradient descent and SAM do not apply α.
#
# ## 3. What filter normalization undoes
#
# Take random directions whose filters (a neuron's incoming weights) are as long as the network's own (Li et al. 2018). When α multiplies a neuron's weights it multiplies the direction's too. **Question: by how much does α = 4 change the picture, with and without?**

# %%
# NBVAL_CHECK_OUTPUT
for normalization in ("filter", "none"):
    before, after = (
        landscape(relu, random_plane(relu, x, normalization=normalization), radius=0.5, resolution=21).loss
        for x in (sam, rescaled(relu, sam, 4.0))
    )
    print(f"{normalization}: a point of the picture changes by {100 * abs(after / before - 1).max():.0f} % at most")

# %% [markdown]
# Not at all, with. ASAM does the same to SAM's perturbation: it measures ρ in units of |x|. In the panel, in random directions: set α to 6 and switch the normalization.
#
# It undoes this one symmetry. It does not make two different networks comparable, and it says nothing about directions that are not random.
#
# ## 4. Projection: where did the path go?
#
# A path of training has 673 dimensions and is drawn in two. **Question: what share of the way from the start to the minimum is off a random plane?** Of a vector in $D$ dimensions a plane holds $2/D$ of the squared length, on average.

# %%
# NBVAL_CHECK_OUTPUT
planes = [random_plane(relu, gd, seed=seed, normalization="none") for seed in range(50)]
off = torch.tensor([plane.project(checkpoints[0, :1])[1][0] for plane in planes])
print(f"predicted: {(1 - 2 / relu.dim) ** 0.5:.2%} off the plane")
print(f"measured: {off.mean():.2%} ± {off.std() / 50**0.5:.2%}, the mean over 50 planes")

# %% [markdown]
# So in a random plane every path is a dot, and the loss that is drawn around it is not the loss that it went through. The plane of the path's two principal components (PCA) holds what it can. **Question: then the picture is right, is it not?**

# %%
# NBVAL_CHECK_OUTPUT
seen = projected(relu, pca_plane(checkpoints[1]), checkpoints[1])
print(f"start: {seen.lost[0]:.0%} of the way off the plane; loss {seen.loss[0]:.3f}, drawn at {seen.shown[0]:.3f}")

# %% [markdown]
# Nearly. A share of the *variance* of 98 % is a share of the *length* of $\sqrt{1-0.98}$, or about 14 %, that is lost. There is another trap: a path looks purposeful in its own PCA, whatever it is. **Question: a random walk goes nowhere. In 2,000 dimensions, what share of its variance lies along its first principal component?**
#
# Theory says $6/\pi^2=61\,\%$, then a quarter of that, then a ninth: cosines of growing frequency (Antognini & Sohl-Dickstein 2018).

# %%
# NBVAL_CHECK_OUTPUT
walk = torch.randn(400, 2000, generator=torch.Generator().manual_seed(0)).cumsum(0)
print("predicted: 61 % and 15 %; measured:", *pca_plane(walk).labels)

# %% [markdown]
# ## 5. Your own model
#
# `landscape_of(model, loss_fn, data)` draws a torch model where it is. Directions are `"random"`, `"hessian"`, `"pca"`, or other checkpoints of the model: one gives the line to it, two a plane. Here are two networks with BatchNorm, trained from two seeds.

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
torch.set_num_threads(1)  # so small a network is no faster on two
models, paths = [], []
for seed in (0, 1):
    torch.manual_seed(seed)
    models.append(nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)))
    optimizer = torch.optim.SGD(models[-1].parameters(), lr=0.1)
    paths.append([step(models[-1], optimizer) for _ in range(200)])

# %% [markdown]
# On the line from one to the other, 0 is the first and 1 the second. **Question: what is the loss at 1?** It should be the second network's own. But BatchNorm's running statistics are not parameters: on the whole line they are those of the first, unless they are taken anew at each point.

# %%
# NBVAL_CHECK_OUTPUT
data, loss_fn = (images, labels), nn.CrossEntropyLoss()
line = {"directions": paths[1][-1], "checkpoints": paths[1][-1:], "radius": 1.0, "resolution": 41}
still = landscape_of(models[0], loss_fn, data, **line)
anew = landscape_of(models[0], loss_fn, data, recompute=True, **line)
print(f"its own loss {still.trajectory.loss[0]:.2f}; on the line {still.loss[0, -1]:.2f}, statistics kept")
print(f"its own loss {anew.trajectory.loss[0]:.2f}; on the line {anew.loss[0, -1]:.2f}, statistics taken anew")

# %%
slice_panel({"kept": still, "taken anew": anew})

# %% [markdown]
# More than half of the barrier was not there. And the path of the first network in its own PCA plane, every tenth step:

# %%
own = landscape_of(
    models[0], loss_fn, data, directions="pca", checkpoints=paths[0][::10], recompute=True, resolution=21
)
slice_panel(own)

# %% [markdown]
# The sentence above the picture is what to state beside any such picture: the share that is off the plane, and what the loss really was.
#
# ## 6. Your turn
#
# A loss depends on two weights $a$ and $b$, and has the symmetry $L(\alpha a,b/\alpha)=L(a,b)$. Given its Hessian at $(a,b)$, write down that at $(\alpha a,b/\alpha)$.

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
# ## What to take away
#
# 1. Say the unit of length, the radius, and how many planes you have looked at.
# 2. λ₁ is a number of the parameters, not of the function; filter normalization undoes one symmetry in pictures.
# 3. A random plane holds nothing of the path, and its own PCA holds most of any path, even of a random walk.
# 4. Take BatchNorm's statistics anew where the parameters are others.
#
# ## Quiz
#
# Four questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("landscapes")

# %% [markdown]
# Next: [08_your_own_model](08_your_own_model.ipynb).
