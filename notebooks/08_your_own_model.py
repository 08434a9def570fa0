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
# # Your own model
#
# **40 minutes**, optional. The theorems of this tutorial hold near a manifold of minimizers, for small η and ρ. Practitioners use SAM under other conditions: mini-batches, cross-entropy, momentum, a large ρ. The goal: decide which predictions of the theory hold under these conditions. You train a small convolutional network with SGD and three variants of SAM, measure sharpness and alignment during the training, and find a case in which a flatter minimum is not better.
#
# The symbols: η is the learning rate, and ρ is the distance between the parameters and the point where SAM computes its gradient. λ₁ is the largest eigenvalue of the Hessian of the training loss $L$, and $v_1$ is its eigenvector.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. A network, its data, its optimizer
#
# The network, the data and the training loop are plain torch, so you can replace them by your own. With a GPU, as on Colab, the same code uses photographs (CIFAR-10 from torchvision) and a wider network. The numbers in the text are those of the handwritten digits.

# %%
import torch
from torch import nn

torch.set_num_threads(1)  # a network this small is not faster on two threads
LARGE = torch.cuda.is_available()  # set it to False to use the digits everywhere
device, width, batch, steps = ("cuda", 64, 128, 1500) if LARGE else ("cpu", 16, 32, 240)

# %%
from samviz.problems import images

try:
    (inputs, labels), test = images(*("cifar10", 4000, 4000) if LARGE else ("digits", 240), device=device)
except (ImportError, OSError) as error:  # there is no torchvision, or no network
    print(error)
    (inputs, labels), test = images("digits", 600, device=device)


# %%
def layer(channels, filters):
    return nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)


def network():
    convolutions = *layer(inputs.shape[1], width), *layer(width, 2 * width)
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(width * inputs[0, 0].numel() // 8, 10))
    return model.to(device, memory_format=torch.channels_last)  # the same weights in a faster order


# %% [markdown]
# One of the reasons why SAM helps in practice is that it resists wrong labels ([06_where_the_theory_ends](06_where_the_theory_ends.ipynb) shows this on a smaller network). Therefore a fifth of the training images get a wrong label. The test images keep their correct labels.

# %%
fifth = len(labels) // 5  # they are in random order
shift = torch.randint(1, 10, (fifth,), generator=torch.Generator().manual_seed(0)).to(device)
wrong = labels.clone()
wrong[:fifth] = (labels[:fifth] + shift) % 10


def accuracy(model):
    return 100 * (model(test[0]).argmax(1) == test[1]).float().mean()


# %% [markdown]
# We compare four methods with one optimizer. With ρ = 0, SAM is its base optimizer, here SGD with momentum. The parameter `m` is the number of samples that share a perturbation: the entire batch of 32 for SAM as it is commonly used, and 8 for *small m*. ASAM perturbs each weight in proportion to its size. Its ρ is therefore in other units, and 1.0 is not ten times SAM's perturbation. We did not match the two lengths, so a difference between ASAM and SAM need not come from the method.

# %%
from samviz import Probe
from samviz.optim import SAM

METHODS = {"SGD": {"rho": 0.0}, "SAM": {"rho": 0.1}}
METHODS["small m"] = {"rho": 0.1, "m": batch // 4}
METHODS["ASAM"] = {"rho": 1.0, "adaptive": True}


# %%
def step(model, optimizer, targets, rows):
    def closure(part):
        loss = nn.functional.cross_entropy(model(inputs[rows[part]]), targets[rows[part]])
        loss.backward()
        return loss

    optimizer.step(closure, samples=len(rows))


# %% [markdown]
# The probe measures the model every `every` steps, on every fifth training image: the Hessian of 48 images takes a fifth of the time that the Hessian of 240 images takes. It leaves the model bit-for-bit identical.


# %%
def start(method, seed, targets, every):
    torch.manual_seed(seed)
    model = network()
    optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9, **{"m": batch} | METHODS[method])
    look = {"every": every, "k": 1, "measures": ("eigenvalues", "trace"), "budget": None}
    return model, optimizer, Probe(model, nn.CrossEntropyLoss(), (inputs[::5], targets[::5]), **look)


# %%
def fit(method, seed, targets, every=steps // 4):
    model, optimizer, probe = start(method, seed, targets, every)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        step(model, optimizer, targets, torch.randint(len(inputs), (batch,), device=device))
        probe.step(test_accuracy=lambda: accuracy(model))
        schedule.step()
    return model, probe


# %% [markdown]
# ## 2. Four methods, three seeds
#
# The theory says that full-batch SAM lowers λ₁ (Theorem 4.5), and that SAM with one sample at a time lowers the trace of the Hessian (Theorem 5.4). Their hypotheses are not satisfied here. So the theory only suggests guesses: λ₁ is lower with SAM, and, although no theorem covers groups of $m=8$ samples, the trace is lower with a small m. Each method runs with three seeds, because the difference between two seeds can be as large as the difference between two methods.

# %%
from samviz import lite

SEEDS = range(2 if lite() else 3)  # two on a slow machine
runs = {name: [fit(name, seed, wrong) for seed in SEEDS] for name in ("SGD", "SAM", "ASAM")}

# %%
runs["small m"] = [fit("small m", seed, wrong) for seed in SEEDS]

# %%
from samviz.figures import seeds_figure
from samviz.lab import Panel, PredictChoice


# %%
def show(records, *columns, before=(), predict=None):
    sentence = f"Mean ± standard error over {len(SEEDS)} seeds."

    def draw(values):
        yield from ((seeds_figure(records, shown), sentence) for shown in (before, columns) if shown)

    return Panel(draw, {}, predict=predict, description="The record of each method")


# %% [markdown]
# **Predict**: the panel shows the training loss of the four methods. Which of them classifies the test images best?

# %%
reply = "SAM, small m and ASAM differ by at most about two standard errors, and all three are better than SGD."
ask = PredictChoice(
    "Which method has the best accuracy on the test images?",
    options={name: name for name in METHODS},
    replies=dict.fromkeys(METHODS, reply)
    | {"SGD": "You expected that the lowest training loss wins. But a fifth of what SGD learns is wrong."},
)

# %%
records = {name: [probe.history for _, probe in runs[name]] for name in METHODS}
show(records, "test_accuracy", "loss", "eigenvalues", "trace", before=["loss"], predict=ask)

# %% [markdown]
# <details><summary>What you see</summary>
#
# All three variants of SAM have a better test accuracy than SGD (84.6 ± 0.6 %): 89.6 ± 0.4 % with small m, 89.3 ± 0.9 % with ASAM and 88.3 ± 0.4 % with SAM. All three are also flatter: λ₁ is 8.1 ± 0.7 with SGD, 4.4 ± 0.2 with SAM, 4.0 ± 0.2 with small m and 2.6 ± 0.1 with ASAM. SAM and small m differ by 2.3 standard errors of the difference in accuracy and by 1.4 in λ₁. With one seed for each method, the order could be a different one.
#
# SGD has the lowest training loss, but a fifth of its training labels is wrong.
#
# </details>


# %%
def end(records, name, column):
    return sum(float(record[column].ravel()[-1]) for record in records[name]) / len(SEEDS)


# %%
# NBVAL_CHECK_OUTPUT
for name in ("SAM", "small m", "ASAM"):
    better, flatter = (end(records, name, c) - end(records, "SGD", c) for c in ("test_accuracy", "eigenvalues"))
    print(f"{name}: better than SGD {better > 0}, flatter {flatter < 0}")
print("small m has a lower trace than SAM:", end(records, "small m", "trace") < end(records, "SAM", "trace"))

# %% [markdown]
# Both guesses hold. The trace is 30.2 ± 0.8 with small m and 32.4 ± 0.8 with SAM, and λ₁ is the same within the errors. This is a difference of two standard errors. But a seed gives both methods the same start and the same batches, and for each seed the trace is lower by 2.2 to 2.3.
#
# Theorem 5.4 is about single samples, so this is an analogy and not a test: at the same ρ, small m may just be a stronger SAM. The ratio of trace and λ₁ is 7.5 ± 0.2 with both, 6.9 ± 0.7 with SGD and 11.3 ± 0.7 with ASAM, which lowers λ₁ most. Neither theorem is about ASAM.
#
# **How well does λ₁ predict the accuracy over all runs? And over the seeds of one method?**

# %%
pairs = torch.tensor(
    [[[run[c].ravel()[-1] for run in records[name]] for c in ("eigenvalues", "test_accuracy")] for name in METHODS]
)  # (methods, 2, seeds)
within = pairs - pairs.mean(2, keepdim=True)
for name, values in (("all runs", pairs), ("seeds of one method", within)):
    print(f"{name}: correlation {torch.corrcoef(values.transpose(0, 1).flatten(1))[0, 1]:.2f}")

# %% [markdown]
# Over all runs the correlation is strong, about −0.9. Within a method it is about −0.4, computed from 12 points after subtracting four means: at most a hint. A method changes both λ₁ and the accuracy, and this does not make one of them the cause of the other. For example, SAM may resist wrong labels because its second gradient weights the samples differently early in training (Baek et al. 2024).
#
# ## 3. Alignment depends on the batch
#
# The mechanism of the theory is alignment: the gradient that perturbs the parameters points along $v_1$. **Does ∇L of the 48 images point along $v_1$ after a run of SAM with mini-batches, and more than after SGD?**

# %%
show(records, "cos_v1", "rayleigh")

# %% [markdown]
# It is not better aligned than after SGD. SAM has never used this gradient: it perturbs along the gradient of 32 images. To look at such a batch, `attach` makes a problem of any model, loss and data, and all functions of `samviz.geometry` accept it. **At which batch size is the gradient of a batch best aligned with the $v_1$ of the same batch: 1, 4 or 32?**

# %%
from samviz import attach
from samviz.geometry import alignment, top_eigenpairs


def cosine(model, rows):
    problem = attach(model, nn.CrossEntropyLoss(), (inputs[rows], wrong[rows]))
    x = problem.initial()[None]  # (1, dim): the parameters of the model
    return alignment(problem, x, eigenpairs=top_eigenpairs(problem, x, 1)).cos_v1.item()


# %%
draws = [torch.randperm(len(inputs), generator=torch.Generator().manual_seed(i)) for i in range(8)]
found = {}
for size in (1, 4, 32):
    for name in ("SGD", "SAM"):
        found[name, size] = torch.tensor([cosine(runs[name][0][0], draw[:size]) for draw in draws])
        mean, error = found[name, size].mean(), found[name, size].std() / 8**0.5
        print(f"{name}, {size} images: |cos(∇L_B, v₁)| = {mean:.2f} ± {error:.2f}")

# %%
# NBVAL_CHECK_OUTPUT
for name in ("SGD", "SAM"):
    print(f"{name}: one image is better aligned than 32: {bool(found[name, 1].mean() > found[name, 32].mean() + 0.1)}")

# %% [markdown]
# The gradient of a single image is aligned, with SGD as well. This is Lemma 5.5: for one sample with one output, the Hessian at an interpolating minimum has rank one, and the gradient lies in its range. It does not hold exactly here, because the network has ten outputs and does not interpolate. The more images a batch has, the weaker is the alignment, as in Example 5.8.
#
# Theorem 4.5 is about SAM with the full batch. **Both SAM and gradient descent now continue from SAM's network, with all images in each step and without momentum. What happens to the Rayleigh ratio?** This is the curvature along the gradient divided by λ₁; it is 1 if the gradient is aligned.


# %%
def continued(rho):
    model = network()
    model.load_state_dict(runs["SAM"][0][0].state_dict())
    optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.2, rho=rho, m=len(inputs))
    look = {"every": 50, "k": 1, "measures": "eigenvalues", "budget": None}
    return model, optimizer, Probe(model, nn.CrossEntropyLoss(), (inputs, wrong), **look)


# %%
def rayleigh(rho):
    model, optimizer, probe = continued(rho)
    for _ in range(150):
        step(model, optimizer, wrong, torch.arange(len(inputs), device=device))
        probe.step()
    return probe.history["rayleigh"]


# %%
# NBVAL_CHECK_OUTPUT
sam, descent = rayleigh(0.1)[-2:].mean(), rayleigh(0.0)[-2:].mean()
print(f"full batch: above 0.6 with SAM: {bool(sam > 0.6)}, with gradient descent: {bool(descent > 0.6)}")

# %% [markdown]
# Here we see the alignment of the theorem: the ratio is above 0.6 with SAM and below it with gradient descent (nearly 0.8 and at most a third in our run). It is not 1. Probably a part of the gradient does not oscillate: the loss is a cross-entropy, which has no minimizer nearby, so the gradient keeps a component along flat directions.
#
# ## 4. On the line from SGD to SAM
#
# Both runs started from the same weights and used the same batches. **Is SAM's network in the same valley as SGD's, only at a flatter place? Which end of the line between them has the lower training loss, and which the lower test loss?** On the horizontal axis, 0 is SGD's network and 1 is SAM's.

# %%
from samviz import landscape_of
from samviz.panels import slice_panel

sgd, sam = (runs[name][0][0] for name in ("SGD", "SAM"))
line = {"directions": sam.state_dict(), "resolution": 41}
slices = [landscape_of(sgd, nn.CrossEntropyLoss(), data, **line) for data in ((inputs, wrong), test)]
slice_panel({"training": slices[0], "test": slices[1]})

# %% [markdown]
# <details><summary>What you see</summary>
#
# On the straight line, a barrier separates the two networks: the training loss increases from 0.27 to 0.53, and then it decreases to 0.48. They are in different valleys, or in one valley that bends. On the test images SAM's end is slightly lower, 0.49 compared with 0.51, and there is hardly a barrier. Much of SGD's gain on the training images comes from their wrong labels, and does not carry over. But a line is a sample of one direction out of 6,090. [07_loss_landscapes](07_loss_landscapes.ipynb) shows how such a picture can mislead.
#
# </details>
#
# ## 5. Flatter is not always better
#
# We repeat the experiment with correct labels. **How much does λ₁ of SGD change compared with section 2? Does SAM still lower it, and does this improve the test accuracy?**

# %%
clean = {name: [fit(name, seed, labels)[1].history for seed in SEEDS] for name in ("SGD", "SAM")}
show(clean, "test_accuracy", "loss", "eigenvalues", "trace")

# %%
# NBVAL_CHECK_OUTPUT
ratio = end(clean, "SGD", "eigenvalues") / end(records, "SGD", "eigenvalues")
print("with correct labels, λ₁ of SGD is less than a fifth:", ratio < 0.2)
print("SAM has a lower trace than SGD:", end(clean, "SAM", "trace") < end(clean, "SGD", "trace"))
print("accuracies within 2 points:", abs(end(clean, "SAM", "test_accuracy") - end(clean, "SGD", "test_accuracy")) < 2)

# %% [markdown]
# SAM's network is flatter, λ₁ = 0.34 ± 0.02 compared with 0.57 ± 0.05, but hardly better: 94.9 ± 0.2 % compared with 94.5 ± 0.4 %. And λ₁ of SGD is 0.6 instead of 8.1, without any SAM. The reason is the loss. Cross-entropy has no finite minimizer if all images can be classified: the weights grow, the probabilities $p$ approach 0 and 1, and the curvature is proportional to $p(1-p)$. So such a λ₁ also measures how certain the network is.
#
# The squared loss has minimizers, so the theory applies better. There, SAM with ρ = 0.05 halves λ₁ from 14.2 ± 0.7 to 6.8 ± 0.2 (five seeds, all 240 images), and the accuracy *decreases* from 95.7 ± 0.4 to 94.2 ± 0.4 %. To try it, replace the cross-entropy by `((outputs - one_hot) ** 2).sum(1).mean() / 2` in the loop and in the probe.
#
# ## 6. Change ρ and η during the training
#
# This section uses the wrong labels again, with a constant η, ρ = 0.2 and twice as many steps. Each press of Start continues from the present parameters. λ₁ and the trace are measured every 40 steps. **Does SAM resist the wrong labels forever?** Press Start, and then:
#
# - Set ρ to 0 for a while, and back to 0.2. In which direction does λ₁ change?
# - Change η. Is there an edge of stability at 2/η?

# %%
model, optimizer, probe = start("SAM", 0, wrong, every=40)
optimizer.param_groups[0]["rho"] = 0.2


# %%
def train():
    for _ in range(2 * steps):
        step(model, optimizer, wrong, torch.randint(len(inputs), (batch,), device=device))
        probe.step(test_accuracy=lambda: accuracy(model) / 100)


# %%
probe.lab(train, optimizer)

# %% [markdown]
# <details><summary>What you see</summary>
#
# SAM does not resist forever. After about 400 steps the training loss is below 0.2, so the wrong labels are learned, and the accuracy is near 75 %. In section 2 SAM was better because it learns the wrong labels later, and the training ended before that.
#
# With ρ = 0 the loss goes to 0, and λ₁ too: this is the flattest network of all, and it has learned the wrong labels. Back at ρ = 0.2, SAM *raises* λ₁ to 3 and more. Two effects compete: SAM lowers the curvature of a network that is equally certain, but it also keeps the network from becoming certain, and here the second effect is larger. A value of λ₁ from 2 to 5 is far below the edges of gradient descent, 2/η = 20 without and 2(1 + 0.9)/η = 38 with momentum. SAM's own edge (notebook 06) is lower, and we do not compare with it here.
#
# </details>
#
# ## Conclusion
#
# | the theory | here |
# |---|---|
# | SAM lowers λ₁ (Theorem 4.5) | yes, in sections 2 and 5: to 0.54 and 0.60 of its value with SGD. In section 6 a return to SAM raises it, because the network becomes less certain |
# | single samples lower the trace (Theorem 5.4) | with m = 8 the trace is slightly lower than with SAM, at the same λ₁ |
# | the gradient aligns with $v_1$ (Section 4 of the paper) | with the full batch; with batches of 32 not more than for SGD |
# | a manifold of minimizers, small η and ρ | these hypotheses are not satisfied |
# | flatter is better | this is not a theorem: true with wrong labels until they are learned, not true with correct labels |
#
# Compare methods over several seeds and with error bars: λ₁ and the accuracy can change together although neither causes the other. State the loss, because under cross-entropy λ₁ decreases as the network becomes certain. And state for which batch the gradient and the Hessian are computed.
#
# Next: [09_beyond_the_paper](09_beyond_the_paper.ipynb) says what is known about SAM under such conditions, and what is open. [your_training_loop](pages/your_training_loop.md) has recipes for your own loop, with gradient accumulation, mixed precision, Lightning, Hugging Face and several processes; [numerics](pages/numerics.md) says which numbers are reliable under which conditions.
#
# ## 7. Exercises
#
# **1.** The simplest classification problem has one weight $w$ and the cross-entropy $L(w)=\ln(1+e^{-w})$. Its curvature is largest at $w=0$, where both classes are equally probable. At which $w>0$ has the curvature decreased to a given fraction of this value?

# %%
from samviz.course import check


def certain_weight(fraction):
    return ...  # your formula


check("certain_weight", certain_weight)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import numpy as np
#
#
# def certain_weight(fraction):
#     p = (1 + np.sqrt(1 - fraction)) / 2  # solves p(1 − p) = fraction/4
#     return np.log(p / (1 - p))
# ```
#
# The curvature is $p(1-p)$ with $p=1/(1+e^{-w})$. It decreases to 1 % at $w\approx6$: a small λ₁ only says that the weight is large.
#
# </details>
#
# **2.** Answer in one or two sentences between the quotation marks: Over all runs, λ₁ and the test accuracy have a correlation of about −0.9. Why does this not show that a small λ₁ causes a good accuracy?

# %%
check("own_model_sentence", "...")

# %% [markdown]
# ## Quiz
#
# Five questions. Each answer gets feedback as soon as you choose it. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("own_model")
