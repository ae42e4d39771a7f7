"""Rewriting: from the expression that an author wrote to one that floating point evaluates well."""
