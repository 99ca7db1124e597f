//! Variables that are read when an interpreter starts or a library is loaded, without Python's knowledge.
//!
//! What Python code reads is noted while it imports. Code in C reads variables unseen, so these are known by their names.

/// Beginnings of such names.
const PREFIXES: [&str; 40] = [
    // The interpreter, the loader and libc.
    "PYTHON",
    "LD_",
    "GLIBC_",
    "MALLOC_",
    "GCONV_",
    "LC_",
    "LANG",
    "TZ",
    "NLSPATH",
    "LOCPATH",
    "ASAN_",
    "TSAN_",
    // Linear algebra and threads.
    "OPENBLAS_",
    "GOTO_",
    "BLIS_",
    "BLAS_",
    "ATLAS_",
    "VECLIB_",
    "MKL_",
    "DNNL_",
    "ONEDNN_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "TBB_",
    "NUMEXPR_",
    "NPY_",
    "RAYON_",
    "POLARS_",
    "ARROW_",
    // Processors that compute.
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "CUBLAS_",
    "HIP_",
    "ROCR_",
    "XLA_",
    "TF_",
    // TLS and databases of files.
    "OPENSSL_",
    "HDF5_",
];

/// True if code in C may have read this variable before the task came.
pub fn is_read_unseen(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_interpreter_and_of_libraries_are_read_unseen_and_a_tasks_own_are_not() {
        for name in [
            "PYTHONHASHSEED",
            "LD_PRELOAD",
            "OMP_NUM_THREADS",
            "LC_ALL",
            "LANG",
            "LANGUAGE",
            "TZ",
        ] {
            assert!(is_read_unseen(name), "{name}");
        }
        for name in ["TOKEN", "MY_PYTHONPATH", "HTTPS_PROXY", "AWS_REGION"] {
            assert!(!is_read_unseen(name), "{name}");
        }
    }
}
