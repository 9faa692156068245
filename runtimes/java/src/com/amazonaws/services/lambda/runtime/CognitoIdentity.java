package com.amazonaws.services.lambda.runtime;

/** The caller's Cognito identity. */
public interface CognitoIdentity {
    String getIdentityId();

    String getIdentityPoolId();
}
