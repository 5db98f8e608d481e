"""The losses: pure functions of tensors, and thin modules where they keep parameters or settings."""

from distill.losses.chunked import chunked_loss as chunked_loss
from distill.losses.features.ab import AB as AB, ab_loss as ab_loss
from distill.losses.features.at import AT as AT, at_loss as at_loss
from distill.losses.features.cwd import CWD as CWD, CWDFeature as CWDFeature, cwd_loss as cwd_loss
from distill.losses.features.embedding import (
    DenseMatch as DenseMatch,
    EmbeddingMatch as EmbeddingMatch,
    embedding_loss as embedding_loss,
)
from distill.losses.features.fitnet import FitNet as FitNet, hint_loss as hint_loss
from distill.losses.features.fsp import FSP as FSP, fsp_loss as fsp_loss
from distill.losses.features.ft import FT as FT, ft_loss as ft_loss
from distill.losses.features.hidden import HiddenStates as HiddenStates, hidden_loss as hidden_loss
from distill.losses.features.minilm import MiniLM as MiniLM, minilm_loss as minilm_loss
from distill.losses.features.nst import NST as NST, nst_loss as nst_loss
from distill.losses.features.ofd import (
    OFD as OFD,
    batch_margin as batch_margin,
    bn_margin as bn_margin,
    ofd_loss as ofd_loss,
)
from distill.losses.features.pkd import PKD as PKD, pkd_loss as pkd_loss
from distill.losses.features.reviewkd import ABF as ABF, ReviewKD as ReviewKD, reviewkd_loss as reviewkd_loss
from distill.losses.features.simkd import simkd_loss as simkd_loss
from distill.losses.features.vid import VID as VID, vid_loss as vid_loss
from distill.losses.logits.dist import DIST as DIST, dist_loss as dist_loss
from distill.losses.logits.dkd import DKD as DKD, dkd_loss as dkd_loss
from distill.losses.logits.jsd import JSD as JSD, jsd_loss as jsd_loss
from distill.losses.logits.kd import KD as KD, kd_loss as kd_loss
from distill.losses.logits.labels import (
    check_labels as check_labels,
    non_target_classes as non_target_classes,
    target_mask as target_mask,
)
from distill.losses.logits.logit_mse import logit_mse_loss as logit_mse_loss
from distill.losses.logits.mlkd import MLKD as MLKD, mlkd_loss as mlkd_loss
from distill.losses.logits.nkd import NKD as NKD, nkd_loss as nkd_loss
from distill.losses.logits.output_mse import OutputMSE as OutputMSE, output_mse_loss as output_mse_loss
from distill.losses.logits.reverse_kl import ReverseKL as ReverseKL, reverse_kl_loss as reverse_kl_loss
from distill.losses.logits.skew_kl import SkewKL as SkewKL, skew_kl_loss as skew_kl_loss
from distill.losses.logits.standardize import standardize as standardize
from distill.losses.logits.tfkd import TfKD as TfKD, tfkd_loss as tfkd_loss
from distill.losses.logits.ttm import TTM as TTM, transformed_divergence as transformed_divergence, ttm_loss as ttm_loss
from distill.losses.logits.tvd import TVD as TVD, tvd_loss as tvd_loss
from distill.losses.logits.wttm import WTTM as WTTM, wttm_loss as wttm_loss
from distill.losses.relations.cc import CC as CC, cc_loss as cc_loss
from distill.losses.relations.crd import (
    CRD as CRD,
    CRDInBatch as CRDInBatch,
    crd_inbatch_loss as crd_inbatch_loss,
    nce_loss as nce_loss,
)
from distill.losses.relations.ickd import ICKD as ICKD, ickd_loss as ickd_loss
from distill.losses.relations.margin_mse import MarginMSE as MarginMSE, margin_mse_loss as margin_mse_loss
from distill.losses.relations.pkt import PKT as PKT, pkt_loss as pkt_loss
from distill.losses.relations.rkd import RKD as RKD, rkd_angle as rkd_angle, rkd_distance as rkd_distance
from distill.losses.relations.skd import SKD as SKD, skd_loss as skd_loss
from distill.losses.relations.sp import SP as SP, sp_loss as sp_loss
