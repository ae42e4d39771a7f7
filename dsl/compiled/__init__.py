"""The modules that `dsl.compile` has made: files of the cache, imported under names below this package's.

The names can be imported anew, so that a class that was pickled by its name is found by another process with
the same cache.
"""

from dsl.build import compiler
from dsl.cache import folder

__path__ = [str(folder() / compiler())]
