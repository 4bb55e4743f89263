"""KEDA's external scaler over gRPC: its messages, and who answers them. Needs the extra `keda`."""
