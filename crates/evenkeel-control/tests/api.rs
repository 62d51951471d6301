//! The admin API as its users see it: a real listener, asked by the typed client and by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api {
    pub(crate) mod desk;
    mod gate;
    mod reads;
    mod writes;
}
