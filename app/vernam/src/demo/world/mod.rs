//! The little world of the demo, all of it real but the photons: certificates, two KMEs joined by a link, two people.

pub(super) mod link;
pub(super) mod network;
pub(super) mod person;
pub(super) mod voice;
