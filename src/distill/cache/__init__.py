"""The teacher cache: answers to views, kept for every later run that shows the same views."""

from distill.cache.codecs import Codec, Exact, Half, TopK
from distill.cache.plan import CacheOptions, CachePlan, plan
from distill.cache.store import Answers, Store, make_room
from distill.cache.teacher import CachedTeacher, digest

__all__ = [
    "Answers",
    "CacheOptions",
    "CachePlan",
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
