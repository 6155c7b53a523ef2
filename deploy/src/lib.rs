//! What ships Quorate: the bill of materials of an image ([`bom`]). The files an operator takes (images, Compose,
//! Kubernetes) lie beside this crate, and its tests check them.

pub mod bom;
