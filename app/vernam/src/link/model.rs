//! The two ways to simulate a link, behind one set of methods.

use std::time::Duration;

use vernam_qkd::{Eve, EveTally, LinkConfig, LinkError, LinkEvent, PhotonLink, RateLink, optics::Trouble};

use crate::cli::{LinkOptions, ModelChoice};

/// A link.
pub(super) enum Model {
    /// Pulse by pulse.
    Photons(Box<PhotonLink>),
    /// From the formulas.
    Rate(Box<RateLink>),
}

impl Model {
    /// The link that was asked for, at virtual time zero.
    pub(super) fn new(options: &LinkOptions) -> Result<Self, LinkError> {
        let config = options.config.clone();
        Ok(match (options.model, options.seed) {
            (ModelChoice::Photons, Some(seed)) => Self::Photons(Box::new(PhotonLink::from_seed(config, seed)?)),
            (ModelChoice::Photons, None) => Self::Photons(Box::new(PhotonLink::from_os_randomness(config)?)),
            (ModelChoice::Rate, Some(seed)) => Self::Rate(Box::new(RateLink::from_seed(config, seed)?)),
            (ModelChoice::Rate, None) => Self::Rate(Box::new(RateLink::from_os_randomness(config)?)),
        })
    }

    /// Lets the virtual time become `to`.
    pub(super) fn advance(&mut self, to: Duration) {
        match self {
            Self::Photons(link) => link.advance(to),
            Self::Rate(link) => link.advance(to),
        }
    }

    /// The next thing that happened up to now.
    pub(super) fn poll_event(&mut self) -> Option<LinkEvent> {
        match self {
            Self::Photons(link) => link.poll_event(),
            Self::Rate(link) => link.poll_event(),
        }
    }

    /// The next time at which to call [`Self::advance`].
    pub(super) fn next_event_at(&self) -> Duration {
        match self {
            Self::Photons(link) => link.next_event_at(),
            Self::Rate(link) => link.next_event_at(),
        }
    }

    /// Puts somebody on the line, and lets something go wrong with it.
    pub(super) fn disturb(&mut self, eve: Option<Eve>, trouble: Option<Trouble>) {
        match self {
            Self::Photons(link) => {
                link.set_eve(eve);
                link.set_trouble(trouble);
            }
            Self::Rate(link) => {
                link.set_eve(eve);
                link.set_trouble(trouble);
            }
        }
    }

    /// What Eve knows of the last finished block.
    pub(super) fn eve_tally(&self) -> EveTally {
        match self {
            Self::Photons(link) => link.eve_tally(),
            Self::Rate(link) => link.eve_tally(),
        }
    }

    /// What the link was made from.
    pub(super) fn config(&self) -> &LinkConfig {
        match self {
            Self::Photons(link) => link.config(),
            Self::Rate(link) => link.config(),
        }
    }
}
