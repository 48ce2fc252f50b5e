"""The peers' side of search: the nearest rows to queries by inner product."""

import argparse
import sys
import time

import numpy

import slices

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rows", required=True, help="file of float32: the queries, then the rows")
parser.add_argument("--dim", type=int, required=True)
parser.add_argument("--queries", type=int, required=True)
parser.add_argument("--together", type=int, required=True, help="queries of one search")
parser.add_argument("--by", required=True, choices=["numpy", "faiss-flat", "faiss-hnsw", "usearch"])
parser.add_argument("--k", type=int, default=10)
args = parser.parse_args()
every = numpy.fromfile(args.rows, numpy.float32).reshape(-1, args.dim)
queries, rows = every[: args.queries].copy(), every[args.queries :].copy()
del every
started = time.perf_counter()


def by_numpy():
    def search(group):
        scores = group @ rows.T
        few = numpy.argpartition(-scores, args.k, axis=1)[:, : args.k]
        order = numpy.argsort(-numpy.take_along_axis(scores, few, 1), axis=1)
        return numpy.take_along_axis(few, order, 1)

    return search, numpy.__version__


def by_faiss(graph):
    import faiss

    if graph:
        index = faiss.IndexHNSWFlat(args.dim, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 100, 64
    else:
        index = faiss.IndexFlatIP(args.dim)
    index.add(rows)
    return lambda group: index.search(group, args.k)[1], faiss.__version__


def by_usearch():
    import usearch
    from usearch.index import Index

    index = Index(ndim=args.dim, metric="ip", dtype="f32", connectivity=16, expansion_add=100, expansion_search=64)
    index.add(numpy.arange(len(rows)), rows, threads=2)
    return lambda group: index.search(group, args.k, threads=2).keys.reshape(len(group), -1), usearch.__version__


try:
    search, version = {
        "numpy": by_numpy,
        "faiss-flat": lambda: by_faiss(False),
        "faiss-hnsw": lambda: by_faiss(True),
        "usearch": by_usearch,
    }[args.by]()
except ImportError as error:
    slices.answer(lambda units: None, absent=str(error))
    sys.exit()
built_s = time.perf_counter() - started

exact = by_numpy()[0]
right = sum(
    len(numpy.intersect1d(a, b))
    for query in queries[:100]
    for a, b in zip(search(query[None]), exact(query[None]))
)
at = 0


def work(units):
    global at
    for _ in range(units):
        search(queries[at : at + args.together])
        at = (at + args.together) % (len(queries) - args.together + 1)


work(2)
slices.answer(work, version=version, built_s=round(built_s, 1), recall=right / (100 * args.k))
