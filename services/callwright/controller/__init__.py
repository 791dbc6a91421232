"""The Kubernetes controller: FineTune -> RayJob -> merge Job -> evaluation Job -> promotion -> RayService."""
