//! What we say of ourselves: the interfaces and their descriptions, as `GetInfo` and `GetInterfaceDescription` give them.
//!
//! The IDL files are the contract with other programs; tests hold them against the structs of [`super::api`] and the
//! methods of [`super::routes`].

/// An interface and its description.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// Its full name.
    pub name: &'static str,
    /// Its IDL.
    pub description: &'static str,
}

macro_rules! interfaces {
    ($($name:literal),+ $(,)?) => {
        /// Every interface that the daemon offers, in the order of `GetInfo`.
        pub const INTERFACES: &[Interface] =
            &[$(Interface { name: $name, description: include_str!(concat!("idl/", $name, ".varlink")) }),+];
    };
}

interfaces!(
    "org.varlink.service",
    "io.contentd.Tasks",
    "io.contentd.Content",
    "io.contentd.Pool",
    "io.contentd.Accounts",
    "io.contentd.Daemon",
    "io.contentd.Schedules",
);

/// An interface by name.
pub fn interface(name: &str) -> Option<&'static Interface> {
    INTERFACES.iter().find(|interface| interface.name == name)
}
