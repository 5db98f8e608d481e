"""The teacher cache: outputs for augmented views, stored for later runs with the same views."""

from distill.distillation.teacher_cache.codecs import Exact as Exact, Half as Half, TopK as TopK
from distill.distillation.teacher_cache.plan import CachePlan as CachePlan, plan as plan
from distill.distillation.teacher_cache.store import (
    CachedOutputs as CachedOutputs,
    Store as Store,
    make_room as make_room,
)
from distill.distillation.teacher_cache.teacher import (
    CachedTeacher as CachedTeacher,
    CacheReport as CacheReport,
    digest as digest,
)
