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
# **40 minutes**, one of them for the computer. Goals:
#
# - train a small convolutional network in plain torch with SGD, SAM, SAM in small pieces and ASAM, and compare them with error bars;
# - measure λ₁, trace and alignment while it trains, and turn ρ and η while it runs;
# - say which of the theory's predictions hold here, and which do not;
# - find a case where flatter is not better.
#
# Before each experiment there is a question. Write your answer down first.

# %%
import sys

if "google.colab" in sys.modules:  # only Colab lacks the course
    # %pip install --quiet git+https://github.com/samviz/samviz
    print("samviz is installed; go on with the next cell.")

# %% [markdown]
# ## 1. A network, its data, its optimizer
#
# Nothing here is made for this course: the network, the data and the loop are torch's, and yours may stand in their place. With a GPU, as on Colab, the same code takes photographs (CIFAR-10, by torchvision) and a wider network. The numbers in the text are those of the digits.

# %%
import torch
from torch import nn

torch.set_num_threads(1)  # so small a network is no faster on two
LARGE = torch.cuda.is_available()  # the one switch; False for the digits everywhere
device, width, batch, steps = ("cuda", 64, 128, 1500) if LARGE else ("cpu", 16, 32, 240)

# %%
from samviz.problems import images

try:
    (inputs, labels), test = images(*("cifar10", 4000, 4000) if LARGE else ("digits", 240), device=device)
except (ImportError, OSError) as error:  # no torchvision, or no way to download
    print(error)
    (inputs, labels), test = images("digits", 600, device=device)


# %%
def layer(channels, filters):
    return nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)


def network():
    convolutions = *layer(inputs.shape[1], width), *layer(width, 2 * width)
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(width * inputs[0, 0].numel() // 8, 10))
    return model.to(device, memory_format=torch.channels_last)  # the same, in an order that is faster


# %% [markdown]
# Flatness helped in [06_where_the_theory_ends](06_where_the_theory_ends.ipynb) where labels were wrong. So a fifth of the training images get a wrong label. The test images keep theirs.

# %%
fifth = len(labels) // 5  # they are in random order
shift = torch.randint(1, 10, (fifth,), generator=torch.Generator().manual_seed(0)).to(device)
wrong = labels.clone()
wrong[:fifth] = (labels[:fifth] + shift) % 10


def accuracy(model):
    return 100 * (model(test[0]).argmax(1) == test[1]).float().mean()


# %% [markdown]
# Four methods, one optimizer. With ρ = 0 SAM is its base optimizer, here SGD with momentum. `m` is how many samples share a perturbation: the batch of 32 for SAM as it is used, 8 for *small m*. ASAM perturbs each weight in proportion to its size.

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
# The probe looks at the model from outside, every so many steps, on every fifth training image: a Hessian of 48 images costs a fifth of one of 240. Whatever it does, the model is left bit for bit as it was.


# %%
def start(method, seed, targets, every):
    torch.manual_seed(seed)
    model = network()
    optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9, **{"m": batch} | METHODS[method])
    look = {"every": every, "k": 1, "measures": ("eigenvalues", "trace"), "budget": None}
    return model, optimizer, Probe(model, nn.CrossEntropyLoss(), (inputs[::5], targets[::5]), **look)


# %%
def fit(method, seed, targets, every=steps // 2):
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
# **Questions: put the four in order of test accuracy, and in order of λ₁. One seed would have been cheaper: why three?**
#
# What the theory says: full-batch SAM lowers λ₁ (Theorem 4.5), and SAM with one sample at a time the trace (Theorem 5.4), near a manifold of minimizers, for small η and ρ. None of that is given here. So the theory is a source of guesses: λ₁ lower with SAM; the trace lower with small m.

# %%
from samviz import lite

SEEDS = range(2 if lite() else 3)  # a slow machine leaves one out
runs = {name: [fit(name, seed, wrong) for seed in SEEDS] for name in ("SGD", "SAM", "ASAM")}

# %%
runs["small m"] = [fit("small m", seed, wrong) for seed in SEEDS]

# %%
from samviz.figures import seeds_figure
from samviz.lab import Panel


def show(records, *columns):
    words = f"Mean ± standard error over {len(SEEDS)} seeds."
    return Panel(lambda _: (seeds_figure(records, columns), words), {}, description="runs")


# %%
records = {name: [probe.history for _, probe in runs[name]] for name in METHODS}
show(records, "test_accuracy", "loss", "eigenvalues", "trace")


# %% [markdown]
# <details><summary>What you see</summary>
# All three beat SGD (84.6 ± 0.6 %): small m with 89.6 ± 0.4, ASAM with 89.3 ± 0.9, SAM with 88.3 ± 0.4. All three are flatter, too: λ₁ is 8.1 ± 0.7 with SGD, 4.4 ± 0.2 with SAM, 4.0 ± 0.2 with small m and 2.6 ± 0.1 with ASAM. SAM and small m are more than two standard errors apart in accuracy and one in λ₁; with one seed each, you could have told another story.
#
# SGD has the lowest training loss. A fifth of what it learns is wrong.
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
# Both guesses hold: small m has the trace at 30.2 ± 0.8 where SAM has it at 32.4 ± 0.8, with the same λ₁ within the errors. That is two standard errors; but a seed gives both the same start and the same batches, and seed by seed the trace is lower by 2.2 to 2.3. It is Theorem 5.4's direction, for m = 8 rather than 1, but no proof of it: at the same ρ small m may just be the stronger SAM. For each 1 of λ₁ the trace is 7.5 ± 0.2 with either, 6.9 ± 0.7 with SGD and 11.3 ± 0.7 with ASAM, of which neither theorem speaks: it takes λ₁ down furthest.
#
# **Question: over all runs, how well does λ₁ predict the accuracy? And over the seeds of one method?**

# %%
pairs = torch.tensor(
    [[[run[c].ravel()[-1] for run in records[name]] for c in ("eigenvalues", "test_accuracy")] for name in METHODS]
)  # (methods, 2, seeds)
within = pairs - pairs.mean(2, keepdim=True)
for words, seen in (("all runs", pairs), ("seeds of one method", within)):
    print(f"{words}: correlation {torch.corrcoef(seen.transpose(0, 1).flatten(1))[0, 1]:.2f}")

# %% [markdown]
# Over all runs very well (−0.89); within a method −0.35, of 12 points with four means removed: a hint at most. What the methods do to λ₁ and what they do to the accuracy go together; that does not make one the cause of the other. SAM could as well resist wrong labels by what its second gradient weighs, early in training (Baek et al. 2024).
#
# ## 3. Alignment, and the batch
#
# All of the theory rests on one thing: the gradient that perturbs points along $v_1$. **Question: does ∇L, of the 48 images, point along $v_1$ after a run of SAM with mini-batches? More than after SGD?**

# %%
show(records, "cos_v1", "rayleigh")

# %% [markdown]
# No more than after SGD. SAM never saw that gradient: it perturbs along that of 32 images. For a look at such a batch `attach` makes any model, loss and data a problem, and everything in `samviz.geometry` takes it. **Question: at which batch size is the batch's gradient best aligned with the batch's own $v_1$: 1, 4, 32 or all?**

# %%
from samviz import attach
from samviz.geometry import alignment, top_eigenpairs


def cosine(model, rows):
    problem = attach(model, nn.CrossEntropyLoss(), (inputs[rows], wrong[rows]))
    x = problem.initial()[None]  # (1, dim): where the model is
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
# One image is aligned by itself, with SGD as well: Lemma 5.5. Not exactly here, since it has ten outputs and is not interpolated. The more images, the less, as Example 5.8 says.
#
# **Question: SAM of the full batch is what Theorem 4.5 is about. Let both go on from SAM's network with all images at every step and no momentum, SAM and gradient descent. What becomes of the Rayleigh ratio?**


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
# Here is the alignment of the theorem: nearly 0.8 with SAM, a third at most with gradient descent. Not 1, since λ₂ is close and wrong labels keep this network off any manifold of minimizers.
#
# ## 4. On the line from SGD to SAM
#
# Both started from the same weights and saw the same batches. **Questions: is SAM's network in SGD's valley, only at a flatter place? Which end is lower for the training images, and which for the test?** At 0 is SGD's network, at 1 SAM's.

# %%
from samviz import landscape_of
from samviz.panels import slice_panel

sgd, sam = (runs[name][0][0] for name in ("SGD", "SAM"))
line = {"directions": sam.state_dict(), "resolution": 41}
seen = [landscape_of(sgd, nn.CrossEntropyLoss(), data, **line) for data in ((inputs, wrong), test)]
slice_panel({"training": seen[0], "test": seen[1]})

# %% [markdown]
# <details><summary>What you see</summary>
# Another valley: on the way the training loss rises from 0.27 to 0.53, before it comes down to 0.48. On the test SAM's end is a little lower, 0.49 against 0.51, and the barrier is hardly there: most of what SGD has gained on the training images are their wrong labels. But a line is a sample of one out of 6,090 dimensions; [07_loss_landscapes](07_loss_landscapes.ipynb) says how it can lie.
# </details>
#
# ## 5. Flatter is not better
#
# The same again with all labels right. **Questions: by how much does λ₁ of SGD alone differ from before? Does SAM still lower it? What is that worth on the test?**

# %%
clean = {name: [fit(name, seed, labels)[1].history for seed in SEEDS] for name in ("SGD", "SAM")}
show(clean, "test_accuracy", "loss", "eigenvalues", "trace")

# %%
# NBVAL_CHECK_OUTPUT
ratio = end(clean, "SGD", "eigenvalues") / end(records, "SGD", "eigenvalues")
print("right labels alone take λ₁ of SGD to less than a fifth:", ratio < 0.2)
print("SAM takes the trace lower still:", end(clean, "SAM", "trace") < end(clean, "SGD", "trace"))
print("accuracies within 2 points:", abs(end(clean, "SAM", "test_accuracy") - end(clean, "SGD", "test_accuracy")) < 2)

# %% [markdown]
# SAM's network ends the flatter one, λ₁ = 0.34 ± 0.02 against 0.57 ± 0.05, and hardly a better one: 94.9 ± 0.2 % against 94.5 ± 0.4. And λ₁ falls by itself, from 8.1 to 0.6, without any SAM. Cross-entropy has no finite minimizer when all images can be classified: the weights grow, the probabilities go to 0 and 1, and the curvature of the loss goes as $p(1-p)$. Such a λ₁ says how sure the network is.
#
# With squared loss, which has minimizers, the theory is closer. There SAM with ρ = 0.05 halves λ₁, from 14.2 ± 0.7 to 6.8 ± 0.2 over five seeds and on all 240 images, and the accuracy *falls*, from 95.7 ± 0.4 to 94.2 ± 0.4 %. Try it: put `((outputs - one_hot) ** 2).sum(1).mean() / 2` for cross-entropy, in the loop and in the probe.
#
# ## 6. Steer it while it runs
#
# The wrong labels again, with η constant, ρ = 0.2 and twice as many steps, or as many as you like; Start trains on from where it is. λ₁ and trace are measured every 40 steps. **Question: does SAM keep the wrong labels out for good?** Press Start, then:
#
# - set ρ to 0 for a while, and back to 0.2: which way does λ₁ go each time?
# - move η: is there an edge of stability at 2/η?

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
# It does not. After 400 steps or so the training loss is below 0.2, wrong labels and all, and the accuracy near 75 %, no more than SGD's. SAM was better in section 2 because it learns them later, and training ended in time.
#
# With ρ = 0 the loss goes to 0, and λ₁ with it: the flattest network of all, and wrong. Back at 0.2, SAM *raises* λ₁ to 3 and more: it keeps the network from being sure. And λ₁ = 2 to 5 is far below 2/η = 20, and the more so below 2(1 + 0.9)/η = 38, where the edge is with momentum: there is no sign of it.
# </details>
#
# ## What to take away
#
# | the theory | here |
# |---|---|
# | SAM lowers λ₁ (Theorem 4.5) | yes, to about a half and less, with mini-batches and a ρ that is not small |
# | single samples: the trace (Theorem 5.4) | at m = 8 the trace is a little lower than with SAM, at the same λ₁ |
# | the gradient aligns with $v_1$ (Section 4) | with the full batch; with batches of 32 no more than for SGD |
# | a manifold of minimizers, small η and ρ | not given |
# | flatter is better | not a theorem: yes with wrong labels until they are learned by heart, no with right ones |
#
# 1. Compare over seeds, with error bars. λ₁ and accuracy may move together without one causing the other.
# 2. Say which loss: under cross-entropy λ₁ falls as the network becomes sure.
# 3. Say of which batch the gradient and the Hessian are.
#
# ## Quiz
#
# Four questions, each with a verdict as soon as you choose. Nothing leaves your machine.

# %%
from samviz.lab import quiz

quiz("own_model")

# %% [markdown]
# Next: [your_training_loop](pages/your_training_loop.md) has recipes for your own loop, with gradient accumulation, mixed precision, Lightning, Hugging Face and several processes; [numerics](pages/numerics.md) says which number to trust when.
