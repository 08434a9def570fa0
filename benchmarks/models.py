"""Two models of about a million parameters, such as people train, in plain torch, with data made up for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY, TOKENS, WIDTH, HEADS, BLOCKS = 64, 32, 128, 4, 5  # of the GPT and its sentences
CLASSES, SIZE, CHANNELS = 10, 8, 39  # of the ResNet and its pictures


class Block(nn.Module):
    """Attention and a perceptron, each on what LayerNorm leaves and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        """Width of the stream, and how many heads share it."""
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Of a stream (batch, tokens, width)."""
        q, k, v = self.mix(self.before(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.between(x))


class GPT(nn.Module):
    """A GPT: next-token logits (batch, tokens, vocabulary) of tokens (batch, tokens)."""

    def __init__(self, width: int = WIDTH, blocks: int = BLOCKS) -> None:
        """A million parameters by default."""
        super().__init__()
        self.token, self.place = nn.Embedding(VOCABULARY, width), nn.Embedding(TOKENS, width)
        self.blocks = nn.Sequential(*(Block(width, HEADS) for _ in range(blocks)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, VOCABULARY))

    def forward(self, tokens: Tensor) -> Tensor:
        """Of int64 tokens."""
        return self.head(self.blocks(self.token(tokens) + self.place.weight[: tokens.shape[1]]))


class Residual(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        """Channels before and after, and by how much it shrinks the picture."""
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        same = inside == outside and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Of pictures (batch, channels, height, width)."""
        return functional.relu(self.way(x) + self.shortcut(x))


class ResNet(nn.Sequential):
    """A residual network: logits (batch, classes) of pictures (batch, 3, height, width)."""

    def __init__(self, channels: int = CHANNELS, blocks: int = 5) -> None:
        """A million parameters by default."""
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 1, 1)]
        for inside, outside, stride in ((1, 1, 1), (1, 2, 2), (2, 2, 1), (2, 4, 2), (4, 4, 1))[:blocks]:
            layers.append(Residual(inside * channels, outside * channels, stride))
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outside * channels, CLASSES))


def sentences(count: int) -> tuple[Tensor, Tensor]:
    """Tokens (count, TOKENS) of a Markov chain with four successors each, and the tokens that follow."""
    generator = torch.Generator().manual_seed(0)
    successors = torch.randint(VOCABULARY, (VOCABULARY, 4), generator=torch.Generator().manual_seed(0))
    chain = [torch.randint(VOCABULARY, (count,), generator=generator)]
    for _ in range(TOKENS):
        chain.append(successors[chain[-1], torch.randint(4, (count,), generator=generator)])
    line = torch.stack(chain, 1)
    return line[:, :-1].contiguous(), line[:, 1:].contiguous()


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Pictures (count, 3, SIZE, SIZE), each its class's own under noise, and labels (count,); some are wrong."""
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(CLASSES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(CLASSES, (count,), generator=generator)
    noisy = 0.3 * own[labels] + torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return noisy, torch.where(torch.rand(count, generator=generator) < 0.1, labels.roll(1), labels)


class NextToken(nn.CrossEntropyLoss):
    """Mean cross-entropy over all tokens, as a module: curvlinops asks for one."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of logits (batch, tokens, vocabulary)."""
        return super().forward(outputs.flatten(0, 1), targets.flatten())
