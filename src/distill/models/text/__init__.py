"""Text encoders of transformers: by name, from sizes, or cut from the teacher."""
