"""Recorded situations that are not replayed: the start of their names, and why."""

OPERATION = "its operations are not offered"
LEFT_OUT = {
    "TestCodeSigningConfig / ": f"code signing: {OPERATION}",
    "TestLambdaEventSourceMappings / ": f"event source mappings: {OPERATION}",
    "TestLambdaImages / test_lambda_image": "container images are not offered",
    "TestLambdaSnapStart / test_snapstart_lifecycle[dotnet": "the runtime is not offered",
    "TestLambdaSnapStart / test_snapstart_update_function_configuration[dotnet": "the runtime is not offered",
    "TestLambdaFunction / test_lambda_code_location_s3": "code in S3 is not offered",
    "TestLambdaLayer / test_layer_s3_content": "code in S3 is not offered",
    "TestLambdaLayer / test_layer_policy": f"layer permissions: {OPERATION}",
    "TestLambdaFunction / test_vpc_config": "VPCs are not offered",
    "TestLambdaFunction / test_invalid_vpc_config": "VPCs are not offered",
    "TestLambdaTag / test_create_tag_on_esm_create": f"event source mappings: {OPERATION}",
    "TestLambdaTag / test_tag_lifecycle[event_source_mapping]": f"event source mappings: {OPERATION}",
    "TestLambdaTag / test_tag_exceptions[event_source_mapping]": f"event source mappings: {OPERATION}",
    "TestLambdaTag / test_tag_exceptions[capacity_provider]": f"capacity providers: {OPERATION}",
    "TestPartialARNMatching / test_cross_region_arn_function_access": "a platform answers for one region",
    "TestLambdaSizeLimits / test_oversized_lambda": "of 2022; test_oversized_unzipped_lambda is the same, of 2025",
    "TestLambdaPermissions / test_add_lambda_permission_optional_fields": "of 2022, without any answer",
    "TestLambdaPermissions / test_lambda_permission_revisions": "of 2022; AWS has numbered policies otherwise since",
    "TestLambdaPermissions / test_lambda_permission_versioning": "of 2022; AWS has numbered policies otherwise since",
}
