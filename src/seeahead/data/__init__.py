"""The demo model's data: packages it comes from, pictures, made scenes, questions with answers, and the held-out side of each."""


