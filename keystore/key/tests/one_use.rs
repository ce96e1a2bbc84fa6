//! What must not compile: using key twice, mixing directions or purposes, copying or showing secrets.
//!
//! The `.stderr` files are what the compiler says. After an update of the compiler: `TRYBUILD=overwrite`, and read the
//! difference: each must still be refused for the reason that the file's name tells.

#[test]
fn misuse_of_key_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
