//! Permissions as values. Use cases take them, and only [`Policy`] makes them: a forgotten check does not compile.

use super::{Caller, Policy};
use flotilla_proto::oci::RepositoryName;
use std::{fmt, marker::PhantomData};

/// What a caller may do to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Read manifests, tags, blobs and referrers.
    Pull,
    /// Write manifests, tags and blobs; see and cancel uploads.
    Push,
    /// Delete manifests, tags and blobs.
    Delete,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// What a token must allow for this right: clients and token servers ask for `pull,push` to push, and for `delete` alone to
    /// delete.
    pub const fn needs(self) -> &'static [Self] {
        match self {
            Self::Pull => &[Self::Pull],
            Self::Push => &[Self::Pull, Self::Push],
            Self::Delete => &[Self::Delete],
        }
    }

    /// As tokens and configuration files write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// A right as a type. Nobody else can have one.
pub trait Kind: sealed::Sealed {
    /// The right.
    const RIGHT: Right;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! kind {
    ($name:ident) => {
        #[doc = concat!("[`Right::", stringify!($name), "`] as a type.")]
        #[derive(Clone, Copy)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Kind for $name {
            const RIGHT: Right = Right::$name;
        }
    };
}
kind!(Pull);
kind!(Push);
kind!(Delete);

/// A permission for one repository, which it names.
#[derive(Clone)]
pub struct Grant<K> {
    repository: RepositoryName,
    kind: PhantomData<K>,
}

impl<K: Kind> Grant<K> {
    pub(super) fn new(repository: RepositoryName) -> Self {
        Self { repository, kind: PhantomData }
    }

    /// The repository it is for.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }
}

impl<K: Kind> fmt::Debug for Grant<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, K::RIGHT.as_str())
    }
}

/// A permission to read every repository.
#[derive(Clone, Debug)]
pub struct Everything(());

/// What a caller may see of the registry as a whole.
#[derive(Clone, Debug)]
pub struct Listing {
    policy: Policy,
    caller: Caller,
}

impl Listing {
    pub(super) fn new(policy: Policy, caller: Caller) -> Self {
        Self { policy, caller }
    }

    /// Present if the caller may read every repository, those of tomorrow included.
    pub fn everything(&self) -> Option<Everything> {
        self.policy.permits_all(&self.caller).then_some(Everything(()))
    }

    /// Whether the caller may know of a repository.
    pub fn shows(&self, repository: &RepositoryName) -> bool {
        self.policy.shows(&self.caller, repository)
    }
}
