"""What can be trained, whole and by name. Add yours: one file, and one line here."""

from torch.nn import Identity

from gansweep.contracts import Trainables
from trainables.attention import BlockAttention, SelfAttention
from trainables.augmentation import AdaptiveAugment, Augmentation, DiffAugment
from trainables.auto_context import AutoContext
from trainables.conditioning import Auxiliary, Concat, Conditioning, LesionBurden, LesionMask, Projection
from trainables.csgan import CsGan
from trainables.cyclegan import CycleGan
from trainables.dc2anet import Dc2anet
from trainables.dcgan import Dcgan
from trainables.detectors import DenseNetDetector, SmallCnn
from trainables.discogan import DiscoGan
from trainables.fcgan import Fcgan
from trainables.joint import Joint
from trainables.kgan import KGan
from trainables.lapgan import Lapgan
from trainables.lesion_painter import LesionPainter
from trainables.losses import (
    Hinge,
    LeastSquares,
    Minimax,
    MultiClassHinge,
    NonSaturating,
    Relativistic,
    Wasserstein,
)
from trainables.penalties import R1, R2, GradientPenalty, LeCam, NoPenalty, R1AndR2
from trainables.progan import Progan
from trainables.r3gan import R3gan
from trainables.segmenters import DruNet, UNet
from trainables.sngan import Sngan
from trainables.spade import Spade
from trainables.srgan import SrGan
from trainables.stylegan2 import Stylegan2
from trainables.vaegan import Vaegan

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
}

LOSSES = {
    "minimax": Minimax,
    "non_saturating": NonSaturating,
    "least_squares": LeastSquares,
    "hinge": Hinge,
    "multi_class_hinge": MultiClassHinge,
    "wasserstein": Wasserstein,
    "relativistic": Relativistic,
}

PENALTIES = {
    "none": NoPenalty,
    "gradient_penalty": GradientPenalty,
    "r1": R1,
    "r2": R2,
    "r1_r2": R1AndR2,
    "lecam": LeCam,
}

AUGMENTATIONS = {
    "none": Augmentation,
    "diffaugment": DiffAugment,
    "ada": AdaptiveAugment,
}

CONDITIONINGS = {
    "none": Conditioning,
    "concat": Concat,
    "auxiliary": Auxiliary,
    "projection": Projection,
    "lesion_burden": LesionBurden,
    "lesion_mask": LesionMask,
}

ATTENTIONS = {
    "none": Identity,
    "self_attention": SelfAttention,
    "cbam": BlockAttention,
}

DETECTORS = {
    "small_cnn": SmallCnn,
    "densenet": DenseNetDetector,
}

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
