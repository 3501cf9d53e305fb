"""Registries of all names that a trial configuration can choose.

To add your own part, write it in one file and add one line here.
"""

from torch.nn import Identity

from gansweep.contracts import Trainables
from trainables.conditioning.conditionings import Auxiliary, Concat, Conditioning, LesionBurden, LesionMask, Projection
from trainables.downstream.detectors import DenseNetDetector, HybridDetector, SmallCnn
from trainables.downstream.heads import ForestHead, LinearHead
from trainables.downstream.segmenters import DruNet, UNet
from trainables.gans.auto_context import AutoContext
from trainables.gans.csgan import CsGan
from trainables.gans.cyclegan import CycleGan
from trainables.gans.dc2anet import Dc2anet
from trainables.gans.dcgan import Dcgan
from trainables.gans.diffusion import Diffusion
from trainables.gans.discogan import DiscoGan
from trainables.gans.fcgan import Fcgan
from trainables.gans.joint import Joint
from trainables.gans.kgan import KGan
from trainables.gans.lapgan import Lapgan
from trainables.gans.lesion_painter import LesionPainter
from trainables.gans.progan import Progan
from trainables.gans.r3gan import R3gan
from trainables.gans.sngan import Sngan
from trainables.gans.spade import Spade
from trainables.gans.srgan import SrGan
from trainables.gans.stylegan2 import Stylegan2
from trainables.gans.vaegan import Vaegan
from trainables.layers.attention import BlockAttention, SelfAttention
from trainables.objectives.augmentation import AdaptiveAugment, Augmentation, DiffAugment
from trainables.objectives.losses import (
    Hinge,
    LeastSquares,
    Minimax,
    MultiClassHinge,
    NonSaturating,
    Relativistic,
    Wasserstein,
)
from trainables.objectives.penalties import R1, R2, GradientPenalty, LeCam, NoPenalty, R1AndR2
from trainables.variants import VARIANTS as VARIANTS

# Families: networks and their training algorithm.
GANS = {
    "fcgan": Fcgan,
    "dcgan": Dcgan,
    "sngan": Sngan,
    "lapgan": Lapgan,
    "progan": Progan,
    "stylegan2": Stylegan2,
    "vaegan": Vaegan,
    "r3gan": R3gan,
    "cyclegan": CycleGan,
    "discogan": DiscoGan,
    "dc2anet": Dc2anet,
    "csgan": CsGan,
    "srgan": SrGan,
    "auto_context": AutoContext,
    "kgan": KGan,
    "joint": Joint,
    "spade": Spade,
    "lesion_painter": LesionPainter,
    "diffusion": Diffusion,
}

# Adversarial losses.
LOSSES = {
    "minimax": Minimax,
    "non_saturating": NonSaturating,
    "least_squares": LeastSquares,
    "hinge": Hinge,
    "multi_class_hinge": MultiClassHinge,
    "wasserstein": Wasserstein,
    "relativistic": Relativistic,
}

# Regularisers of the critic.
PENALTIES = {
    "none": NoPenalty,
    "gradient_penalty": GradientPenalty,
    "r1": R1,
    "r2": R2,
    "r1_r2": R1AndR2,
    "lecam": LeCam,
}

# Augmentations of the critic's inputs; the base class does nothing.
AUGMENTATIONS = {
    "none": Augmentation,
    "diffaugment": DiffAugment,
    "ada": AdaptiveAugment,
}

# How generator and critic are conditioned on a class or a lesion.
CONDITIONINGS = {
    "none": Conditioning,
    "concat": Concat,
    "auxiliary": Auxiliary,
    "projection": Projection,
    "lesion_burden": LesionBurden,
    "lesion_mask": LesionMask,
}

# Attention modules for feature maps.
ATTENTIONS = {
    "none": Identity,
    "self_attention": SelfAttention,
    "cbam": BlockAttention,
}

# Classifiers that score synthetic images.
DETECTORS = {
    "small_cnn": SmallCnn,
    "densenet": DenseNetDetector,
    "hybrid": HybridDetector,
    "linear_head": LinearHead,
    "forest_head": ForestHead,
}

# Segmentation networks that score synthetic images with masks.
SEGMENTERS = {
    "unet": UNet,
    "dru_net": DruNet,
}

TRAINABLES = Trainables(
    gans=GANS,
    losses=LOSSES,
    penalties=PENALTIES,
    augmentations=AUGMENTATIONS,
    conditionings=CONDITIONINGS,
    attentions=ATTENTIONS,
    detectors=DETECTORS,
    segmenters=SEGMENTERS,
)
