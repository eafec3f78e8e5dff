//! Compiles the protobuf files without a `protoc` binary.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/metadata.proto", "proto/cluster.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    // Messages with secrets, which `metadata::secret` prints without them.
    let secret = [".flotilla.metadata.v1.AddTokenKey", ".flotilla.metadata.v1.TokenKey"];
    tonic_prost_build::configure().bytes(".flotilla").skip_debug(secret).compile_fds(descriptors)?;
    Ok(())
}
