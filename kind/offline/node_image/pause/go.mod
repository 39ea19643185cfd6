module learning-lab/kind/pause

go 1.24.0
