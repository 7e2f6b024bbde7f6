//! Prepared network namespaces.
