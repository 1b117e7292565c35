"""The paper in miniature: its claims, tried with models of minutes. python -m benchmarks.paper FOLDER"""
