"""What shows whether the method works on somebody's data: ablations, and features of labelled and unlabelled scans."""
