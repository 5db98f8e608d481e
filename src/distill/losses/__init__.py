"""The losses: pure functions of tensors, and thin modules where they keep parameters or settings."""

from distill.losses.features.ab import AB, ab_loss
from distill.losses.features.at import AT, at_loss
from distill.losses.features.fitnet import FitNet, hint_loss
from distill.losses.features.fsp import FSP, fsp_loss
from distill.losses.features.ft import FT, ft_loss
from distill.losses.features.nst import NST, nst_loss
from distill.losses.features.ofd import OFD, batch_margin, bn_margin, ofd_loss
from distill.losses.features.reviewkd import ABF, ReviewKD, reviewkd_loss
from distill.losses.features.simkd import simkd_loss
from distill.losses.features.vid import VID, vid_loss
from distill.losses.logits.dist import DIST, dist_loss
from distill.losses.logits.dkd import DKD, dkd_loss
from distill.losses.logits.kd import KD, kd_loss
from distill.losses.logits.labels import check_labels, non_target_classes, target_mask
from distill.losses.logits.mlkd import MLKD, mlkd_loss
from distill.losses.logits.nkd import NKD, nkd_loss
from distill.losses.logits.standardize import standardize
from distill.losses.logits.tfkd import TfKD, tfkd_loss
from distill.losses.logits.ttm import TTM, transformed_divergence, ttm_loss
from distill.losses.logits.wttm import WTTM, wttm_loss
from distill.losses.relations.cc import CC, cc_loss
from distill.losses.relations.crd import CRD, CRDInBatch, crd_inbatch_loss, nce_loss
from distill.losses.relations.ickd import ICKD, ickd_loss
from distill.losses.relations.pkt import PKT, pkt_loss
from distill.losses.relations.rkd import RKD, rkd_angle, rkd_distance
from distill.losses.relations.sp import SP, sp_loss

__all__ = [
    "AB",
    "ABF",
    "AT",
    "CC",
    "CRD",
    "DIST",
    "DKD",
    "FSP",
    "FT",
    "ICKD",
    "KD",
    "MLKD",
    "NKD",
    "NST",
    "OFD",
    "PKT",
    "RKD",
    "SP",
    "TTM",
    "VID",
    "WTTM",
    "CRDInBatch",
    "FitNet",
    "ReviewKD",
    "TfKD",
    "ab_loss",
    "at_loss",
    "batch_margin",
    "bn_margin",
    "cc_loss",
    "check_labels",
    "crd_inbatch_loss",
    "dist_loss",
    "dkd_loss",
    "fsp_loss",
    "ft_loss",
    "hint_loss",
    "ickd_loss",
    "kd_loss",
    "mlkd_loss",
    "nce_loss",
    "nkd_loss",
    "non_target_classes",
    "nst_loss",
    "ofd_loss",
    "pkt_loss",
    "reviewkd_loss",
    "rkd_angle",
    "rkd_distance",
    "simkd_loss",
    "sp_loss",
    "standardize",
    "target_mask",
    "tfkd_loss",
    "transformed_divergence",
    "ttm_loss",
    "vid_loss",
    "wttm_loss",
]
