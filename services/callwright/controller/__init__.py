"""The Kubernetes controller: FineTune -> RayJob -> merge Job -> evaluation Job -> promotion -> RayService.

A change goes through `app` (what is due), `reconcile` (from document to status), `stages` and `promotion` (the next
thing to do), `desired` (the object that should be there), `observed` (the state of the object that exists) and
`transitions` (the status that follows), and back to `reconcile`, which writes it.
"""
