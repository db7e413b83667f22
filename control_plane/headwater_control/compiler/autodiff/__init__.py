"""Reverse-mode differentiation of ONNX graphs: standard operators in, standard operators out.

`types.py` knows what each tensor is, `emitter.py` writes nodes, `rules/` holds one small rule per operator, and
`backward.py` walks the graph from the loss to the parameters. The method is that of Griewank and Walther, Evaluating
Derivatives (2nd edition, SIAM 2008), chapter 3.
"""
