"""The teacher cache: answers to views, kept for every later run that shows the same views."""

from distill.distillation.teacher_cache.codecs import Codec, Exact, Half, TopK
from distill.distillation.teacher_cache.plan import CacheOptions, CachePlan, plan
from distill.distillation.teacher_cache.store import CachedOutputs, Store, make_room
from distill.distillation.teacher_cache.teacher import CachedTeacher, digest

__all__ = [
    "CacheOptions",
    "CachePlan",
    "CachedOutputs",
    "CachedTeacher",
    "Codec",
    "Exact",
    "Half",
    "Store",
    "TopK",
    "digest",
    "make_room",
    "plan",
]
