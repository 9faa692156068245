//! What tells blanks apart.

use ephyra_core::limits;
use ephyra_core::revision::Revision;
use ephyra_sandbox::client::Blank;

use crate::runtime::{Runtime, RuntimeKind};
use crate::start;

/// The memory of a blank whose key does not say it, until it is assigned, in MB.
const ANY_MEMORY_MB: u32 = 128;

/// What of a runtime is there before the function is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// The sandbox alone: for functions that bring their own program, or need a start of their own.
    Bare,
    /// A booted runtime, forked from its zygote.
    Forked,
    /// A booted runtime that was executed.
    Booted,
}

/// Blanks of the same key can be exchanged for one another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The identifier of the runtime.
    pub runtime: String,
    /// What is there of it.
    pub form: Form,
    /// The memory that the runtime sizes its heap by when it boots, in MB; 0 for those that do not.
    pub memory_mb: u32,
}

impl Key {
    /// The key of blanks that can become `revision`, as good as can be.
    pub(crate) fn of(revision: &Revision, runtime: &Runtime) -> Self {
        // A runtime is confined when it starts: a /tmp of another size can be given only to one that starts later.
        let has_common_tmp = revision.ephemeral_storage_mb == *limits::EPHEMERAL_STORAGE_MB.start();
        let form = if has_common_tmp && start::is_shared(revision, runtime) {
            Form::started(runtime)
        } else {
            Form::Bare
        };
        Self::new(runtime, form, revision.memory_mb)
    }

    /// The key of blanks of a runtime for functions of so much memory that ask for nothing special.
    pub(crate) fn common(runtime: &Runtime, memory_mb: u32) -> Self {
        Self::new(runtime, Form::started(runtime), memory_mb)
    }

    fn new(runtime: &Runtime, form: Form, memory_mb: u32) -> Self {
        let sizes_its_heap = form == Form::Booted && runtime.kind.sizes_its_heap();
        Self {
            runtime: runtime.identifier.clone(),
            form,
            memory_mb: if sizes_its_heap { memory_mb } else { 0 },
        }
    }

    /// What the warden is asked for.
    pub(crate) fn to_blank(&self) -> Blank {
        Blank {
            runtime: self.runtime.clone(),
            memory_mb: if self.memory_mb == 0 {
                ANY_MEMORY_MB
            } else {
                self.memory_mb
            },
            base: None,
            zygote: self.form == Form::Forked,
        }
    }

    /// What a blank takes until it is known, in bytes.
    pub(crate) const fn assumed_bytes(&self) -> u64 {
        match self.form {
            Form::Bare => 1 << 20,
            Form::Forked => 3 << 20,
            Form::Booted => 48 << 20,
        }
    }
}

impl Form {
    /// How a runtime of this kind is best kept ready.
    fn started(runtime: &Runtime) -> Self {
        match runtime.kind {
            RuntimeKind::Provided => Self::Bare,
            _ if runtime.has_zygote => Self::Forked,
            RuntimeKind::Python | RuntimeKind::Node | RuntimeKind::Java => Self::Booted,
        }
    }
}
